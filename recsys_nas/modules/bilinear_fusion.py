"""Bilinear fusion of two dense streams (FinalMLP: Mao et al., 2023, "Stream-Level Interaction Aggregation"), at full and at low rank."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class BilinearFusion(InteractionModule):
    """`b + left W1' + right W2' + left W3 right` for each output feature; `[B, F], [B, R] -> [B, W]`.

    With one head: FinalMLP's heads, each on a share of the features of both sides, spare weights but tie a feature to a head by its
    place, which is another in a slice.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.left = weight(shape.out, shape.dense)
        self.right = weight(shape.out, shape.right)
        self.products = weight(shape.out, shape.dense * shape.right)
        self.bias = bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        products = (inputs.dense.unsqueeze(2) * inputs.right.unsqueeze(1)).flatten(1)
        linear = F.linear(inputs.dense, self.left, self.bias) + F.linear(inputs.right, self.right)
        return linear + F.linear(products, self.products)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        products = (part.dense.unsqueeze(1) * self.shape.right + part.right).flatten()
        return {"left": (out, part.dense), "right": (out, part.right), "products": (out, products), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.out * (shape.dense + shape.right + shape.dense * shape.right)


class LowRankFusion(InteractionModule):
    """`(left L' + l) * (right R' + r)`; `[B, F], [B, R] -> [B, W]`.

    Followed by a linear layer, as the head is, this is a bilinear form of rank W (Kim et al., 2017, low-rank
    bilinear pooling without nonlinearities): FinalMLP's fusion at a price that is linear in what it reads, without heads.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.left, self.left_bias = weight(shape.out, shape.dense), bias(shape.out)
        self.right, self.right_bias = weight(shape.out, shape.right), bias(shape.out)

    def forward(self, inputs: Inputs) -> Tensor:
        return F.linear(inputs.dense, self.left, self.left_bias) * F.linear(inputs.right, self.right, self.right_bias)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        return {"left": (out, part.dense), "left_bias": (out,), "right": (out, part.right), "right_bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.out * (shape.dense + shape.right)
