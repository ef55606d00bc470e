"""Explicit bit-wise crosses, one layer at full and at low rank, and two in a row (DCN V2: Wang et al., 2021, equations 1 and 2)."""

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


class CrossNetwork(InteractionModule):
    """Two layers of equation 1 on the dense stream, `x1 = x * (x A' + a) + x`, then `x * (x1 C' + c) + x1`, projected to W features;
    `[B, F] -> [B, W]`.

    DCN V2's cross network at a depth of two: products of three at once, through a layer as wide as the input. Crosses of two blocks
    meet in W features.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.first, self.first_bias = weight(shape.dense, shape.dense), bias(shape.dense)
        self.second, self.second_bias = weight(shape.dense, shape.dense), bias(shape.dense)
        self.weight, self.bias = weight(shape.out, shape.dense), bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        x = inputs.dense
        pairs = x * F.linear(x, self.first, self.first_bias) + x
        triples = x * F.linear(pairs, self.second, self.second_bias) + pairs
        return F.linear(triples, self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out, square = slice(part.out), (part.dense, part.dense)
        first, second = {"first": square, "first_bias": (part.dense,)}, {"second": square, "second_bias": (part.dense,)}
        return first | second | {"weight": (out, part.dense), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 4 * shape.dense * shape.dense + 2 * shape.dense * shape.out


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
