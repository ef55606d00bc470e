"""Explicit bit-wise crosses (DCN V2: Wang et al., 2021, equation 1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Inputs, InteractionModule, Number, Part, Shape, bias, weight


class Cross(InteractionModule):
    """`x * (x W' + b) + x` on the dense stream, projected to W features; `[B, F] -> [B, W]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.cross = weight(shape.dense, shape.dense)
        self.cross_bias = bias(shape.dense)
        self.weight = weight(shape.out, shape.dense)
        self.bias = bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        crossed = inputs.dense * F.linear(inputs.dense, self.cross, self.cross_bias) + inputs.dense
        return F.linear(crossed, self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Tensor | slice, ...]]:
        out = slice(part.out)
        return {"cross": (part.dense, part.dense), "cross_bias": (part.dense,), "weight": (out, part.dense), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dense * shape.dense + 2 * shape.dense * shape.out
