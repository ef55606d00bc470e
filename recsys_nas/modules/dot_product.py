"""Pairwise inner products between embeddings (DLRM: Naumov et al., 2019, section 2.1.2), and NASRec's variant of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules import projection
from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


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

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
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


class MixedDotProduct(InteractionModule):
    """NASRec's dot product (Zhang et al., 2023, section 3.1; nasrec/supernet/modules.py, `DotProduct`): tokens are first mixed
    to `k = round(sqrt(2 W))`, then meet each other and the dense stream's token; `[B, F], [B, N, D] -> [B, W]`.

    The products of pairs `i > j` run row by row, the dense token being node 0. Each linear map (dense to a token, N tokens to
    k, products to W) is left out where its sizes are equal. A narrower layer mixes to the first of the mixed tokens, and
    so has the first of the products.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        mixed = mixed_tokens(shape.out)
        self.to_token, self.to_token_bias = projection.parameters(shape.dim, shape.dense, shared)
        self.mix, self.mix_bias = projection.parameters(mixed, shape.tokens, shared)
        self.output, self.output_bias = projection.parameters(shape.out, _pairs(mixed), shared)

    def forward(self, inputs: Inputs) -> Tensor:
        dense_token = projection.project(inputs.dense, self.to_token, self.to_token_bias, self.shape.dim)
        mixed = projection.project(inputs.tokens.transpose(1, 2), self.mix, self.mix_bias, mixed_tokens(self.shape.out)).transpose(1, 2)
        nodes = torch.cat([dense_token.unsqueeze(1), mixed], dim=1)
        products = torch.bmm(nodes, nodes.transpose(1, 2))
        high, low = torch.tril_indices(nodes.shape[1], nodes.shape[1], offset=-1, device=nodes.device)
        pairs = products.flatten(1).index_select(1, high * nodes.shape[1] + low)
        return projection.project(pairs, self.output, self.output_bias, self.shape.out)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        mixed = mixed_tokens(part.out)
        return (
            projection.slices("to_token", slice(None), part.dense, (self.shape.dim, len(part.dense)))
            | projection.slices("mix", slice(mixed), part.tokens, (mixed, len(part.tokens)))
            | projection.slices("output", slice(part.out), slice(_pairs(mixed)), (part.out, _pairs(mixed)))
        )

    @staticmethod
    def flops(shape: Shape) -> Number:
        mixed = mixed_tokens(shape.out)
        to_token = projection.flops(shape.dim, shape.dense)
        mixing = shape.dim * projection.flops(mixed, shape.tokens)
        products = 2 * (mixed + 1) * (mixed + 1) * shape.dim
        return to_token + mixing + products + projection.flops(shape.out, _pairs(mixed))


def mixed_tokens(out: int) -> int:
    """So many tokens, with the dense one, have about `out` pairs."""
    return round(math.sqrt(2 * out))


def _pairs(mixed: int) -> int:
    """Pairs among the mixed tokens and the dense one."""
    return (mixed + 1) * mixed // 2
