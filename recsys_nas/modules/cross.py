"""Explicit bit-wise crosses, at full and at low rank (DCN V2: Wang et al., 2021, equations 1 and 2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


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

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        return {"cross": (part.dense, part.dense), "cross_bias": (part.dense,), "weight": (out, part.dense), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dense * shape.dense + 2 * shape.dense * shape.out


class LowRankCross(InteractionModule):
    """`x * ((x V) U' + b) + x` on the dense stream, projected to W features; `[B, F] -> [B, W]`.

    The rank is a quarter of W, rounded up: the share that TensorFlow Recommenders advises for crosses as wide as their input.
    A narrower layer has the first of the rank's dimensions.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.down = weight(_rank(shape.out), shape.dense)
        self.up = weight(shape.dense, _rank(shape.out))
        self.up_bias = bias(shape.dense)
        self.weight = weight(shape.out, shape.dense)
        self.bias = bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        crossed = inputs.dense * F.linear(F.linear(inputs.dense, self.down), self.up, self.up_bias) + inputs.dense
        return F.linear(crossed, self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        rank, out = slice(_rank(part.out)), slice(part.out)
        return {
            "down": (rank, part.dense),
            "up": (part.dense, rank),
            "up_bias": (part.dense,),
            "weight": (out, part.dense),
            "bias": (out,),
        }

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 4 * shape.dense * _rank(shape.out) + 2 * shape.dense * shape.out


def _rank(out: int) -> int:
    return -(-out // 4)
