"""Pairwise inner products between embeddings (DLRM: Naumov et al., 2019, section 2.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Inputs, InteractionModule, Number, Part, Shape, bias, weight


class DotProduct(InteractionModule):
    """Inner products of all pairs of tokens, the dense stream projected to one more token; `[B, N+1, D] -> [B, W]`.

    The products run over pairs `i < j` in token order, the dense token first, and are projected to W features.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        nodes = shape.tokens + 1
        self.to_token = weight(shape.dim, shape.dense)
        self.to_token_bias = bias(shape.dim)
        self.weight = weight(shape.out, nodes * (nodes - 1) // 2)
        self.bias = bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        dense_token = F.linear(inputs.dense, self.to_token, self.to_token_bias)
        nodes = torch.cat([dense_token.unsqueeze(1), inputs.tokens], dim=1)
        products = torch.bmm(nodes, nodes.transpose(1, 2))
        low, high = torch.triu_indices(nodes.shape[1], nodes.shape[1], offset=1, device=nodes.device)
        pairs = products.flatten(1).index_select(1, low * nodes.shape[1] + high)
        return F.linear(pairs, self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Tensor | slice, ...]]:
        full = self.shape.tokens + 1
        nodes = torch.cat([part.tokens.new_zeros(1), part.tokens + 1])
        low, high = torch.triu_indices(len(nodes), len(nodes), offset=1, device=nodes.device)
        low, high = nodes[low], nodes[high]
        # Pairs of the full list that come before row `low`, then the place within that row.
        pairs = low * full - low * (low + 1) // 2 + (high - low - 1)
        out = slice(part.out)
        return {"to_token": (slice(None), part.dense), "to_token_bias": (slice(None),), "weight": (out, pairs), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        nodes = shape.tokens + 1
        return 2 * shape.dense * shape.dim + 2 * nodes * nodes * shape.dim + nodes * (nodes - 1) * shape.out
