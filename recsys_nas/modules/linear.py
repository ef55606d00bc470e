"""A fully connected layer on the dense stream: the deep part of Wide & Deep (Cheng et al., 2016)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class Linear(InteractionModule):
    """`relu(x W' + b)` on the dense stream, `[B, F] -> [B, W]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.weight = weight(shape.out, shape.dense)
        self.bias = bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        return F.relu(F.linear(inputs.dense, self.weight, self.bias))

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        return {"weight": (out, part.dense), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dense * shape.out
