"""The factorization machine's sum over pairs, in linear time (Rendle, 2010, lemma 3.1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class FactorizationMachine(InteractionModule):
    """Half of (square of the sum - sum of the squares) over tokens, kept per dimension (the bi-interaction pooling of
    NFM: He and Chua, 2017) and projected; `[B, N, D] -> [B, W]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.weight = weight(shape.out, shape.dim)
        self.bias = bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        pooled = 0.5 * (inputs.tokens.sum(1).square() - inputs.tokens.square().sum(1))
        return F.linear(pooled, self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        return {"weight": (out, slice(None)), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dim * shape.out
