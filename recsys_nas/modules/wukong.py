"""The two blocks of a WuKong layer (Zhang et al., 2024, sections 3.4 to 3.6). In WuKong their tokens are joined and normalised with a
residual; in a block of ours they are summed like those of any other modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class LinearCompression(InteractionModule):
    """Linear compress block (section 3.5): each new token is a learnt mixture of all tokens, nothing else;
    `[B, N, D] -> [B, T, D]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.weight = weight(shape.out, shape.tokens)

    def forward(self, inputs: Inputs) -> Tensor:
        return F.linear(inputs.tokens.transpose(1, 2), self.weight).transpose(1, 2)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        return {"weight": (slice(part.out), part.tokens)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dim * shape.tokens * shape.out


class FactorizationMachineBlock(InteractionModule):
    """Factorization machine block (section 3.4): `reshape(MLP(LN(flatten(X (X' Y)))))`; `[B, N, D] -> [B, T, D]`.

    Y `[N, k]` is the learnt projection of the optimized FM (section 3.6) that spares the N x N products, with k half of T, rounded up.
    The MLP has one hidden layer, as wide as the output T * D. A narrower layer has the first of the k columns, of the
    hidden features and of the tokens.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        rank, products, features = _sizes(shape)
        self.projection = weight(shape.tokens, rank)
        self.scale, self.shift = nn.Parameter(torch.ones(products)), bias(products)
        self.hidden, self.hidden_bias = weight(features, products), bias(features)
        self.output, self.output_bias = weight(features, features), bias(features)

    def forward(self, inputs: Inputs) -> Tensor:
        summaries = F.linear(inputs.tokens.transpose(1, 2), self.projection.T)
        products = torch.bmm(inputs.tokens, summaries).flatten(1)
        normalised = F.layer_norm(products, products.shape[1:], self.scale, self.shift)
        hidden = F.relu(F.linear(normalised, self.hidden, self.hidden_bias))
        return F.linear(hidden, self.output, self.output_bias).unflatten(1, (self.shape.out, self.shape.dim))

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        full_rank, rank, features = _rank(self.shape.out), _rank(part.out), slice(part.out * self.shape.dim)
        products = (part.tokens.unsqueeze(1) * full_rank + torch.arange(rank, device=part.tokens.device)).flatten()
        return {
            "projection": (part.tokens, slice(rank)),
            "scale": (products,),
            "shift": (products,),
            "hidden": (features, products),
            "hidden_bias": (features,),
            "output": (features, features),
            "output_bias": (features,),
        }

    @staticmethod
    def flops(shape: Shape) -> Number:
        rank, products, features = _sizes(shape)
        return 2 * 2 * shape.dim * shape.tokens * rank + 2 * products * features + 2 * features * features


def _rank(out: int) -> int:
    return -(-out // 2)


def _sizes(shape: Shape) -> tuple[int, Number, int]:
    """Columns of the projection, products, features of the output."""
    rank = _rank(shape.out)
    return rank, shape.tokens * rank, shape.out * shape.dim
