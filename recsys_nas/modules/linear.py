"""Fully connected layers: the deep part of Wide & Deep (Cheng et al., 2016), on the dense stream or on all tokens side by side."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, Number, Part, RectifiedModule, Shape, bias, weight


class Linear(RectifiedModule):
    """`relu(x W' + b)` on the dense stream, `[B, F] -> [B, W]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.weight = weight(shape.out, shape.dense)
        self.bias = bias(shape.out)

    def linear(self, inputs: Inputs) -> Tensor:
        return F.linear(inputs.dense, self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        return {"weight": (out, part.dense), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dense * shape.out


class TokenLinear(RectifiedModule):
    """`relu(flat(X) W' + b)` on the tokens side by side, `[B, N, D] -> [B, W]`: what lets an MLP read tokens that gates or mixers made."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.weight = weight(shape.out, shape.tokens * shape.dim)
        self.bias = bias(shape.out)

    def linear(self, inputs: Inputs) -> Tensor:
        return F.linear(inputs.tokens.flatten(1), self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        return {"weight": (out, part.token_features(self.shape.dim)), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.tokens * shape.dim * shape.out
