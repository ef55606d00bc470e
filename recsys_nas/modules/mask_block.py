"""A fully connected layer on tokens let through feature by feature, as all of them together decide: the MaskBlock of MaskNet (Wang et al.,
2021, section 3.3), with the bounded gates of FinalMLP's feature selection (Mao et al., 2023)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, Number, Part, RectifiedModule, Shape, bias, weight


class MaskBlock(RectifiedModule):
    """`relu(W (m * x) + b)` with x all tokens in a row and the mask `m = 2 sigmoid(M relu(V x + a) + c)`; `[B, N, D] -> [B, W]`.

    The mask's hidden layer is as wide as the output. Where nothing is known the mask is 1, and the block a `token_linear`. What is
    masked is not normalised, so that the tables' penalty still bears on it. MaskNet's mask is unbounded; FinalMLP's is bounded, but
    looks at one field, which a data set has to name.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        features = shape.tokens * shape.dim
        self.squeeze, self.squeeze_bias = weight(shape.out, features), bias(shape.out)
        self.mask, self.mask_bias = weight(features, shape.out), bias(features)
        self.weight, self.bias = weight(shape.out, features), bias(shape.out)

    def linear(self, inputs: Inputs) -> Tensor:
        features = inputs.tokens.flatten(1)
        hidden = F.relu(F.linear(features, self.squeeze, self.squeeze_bias))
        mask = 2 * F.linear(hidden, self.mask, self.mask_bias).sigmoid()
        return F.linear(features * mask, self.weight, self.bias)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out, features = slice(part.out), part.token_features(self.shape.dim)
        squeeze = {"squeeze": (out, features), "squeeze_bias": (out,)}
        return squeeze | {"mask": (features, out), "mask_bias": (features,), "weight": (out, features), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 6 * shape.tokens * shape.dim * shape.out
