"""Bilinear fusion of two dense streams (FinalMLP: Mao et al., 2023, "Stream-Level Interaction Aggregation")."""

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
