"""Tokens let through feature by feature, as all of them together decide: the instance-guided mask of MaskNet (Wang et al., 2021,
section 3.2) with the bounded gates of FinalMLP's feature selection (Mao et al., 2023)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules import projection
from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class InstanceMask(InteractionModule):
    """Each feature of each token times `2 sigmoid(U relu(V x + a) + b)`, x being all tokens in a row, then mixed to T tokens where N is
    not T already; `[B, N, D] -> [B, T, D]`.

    The hidden layer is as wide as what is made, T D. A feature passes as it is where nothing is known. MaskNet multiplies by the mask
    itself, which is unbounded; FinalMLP's is bounded, but looks at one field, which a data set has to name.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        features, hidden = shape.tokens * shape.dim, shape.out * shape.dim
        self.squeeze, self.squeeze_bias = weight(hidden, features), bias(hidden)
        self.mask, self.mask_bias = weight(features, hidden), bias(features)
        self.mix, self.mix_bias = projection.parameters(shape.out, shape.tokens, shared)

    def forward(self, inputs: Inputs) -> Tensor:
        hidden = F.relu(F.linear(inputs.tokens.flatten(1), self.squeeze, self.squeeze_bias))
        mask = 2 * F.linear(hidden, self.mask, self.mask_bias).sigmoid()
        masked = inputs.tokens * mask.view_as(inputs.tokens)
        return projection.project(masked.transpose(1, 2), self.mix, self.mix_bias, self.shape.out).transpose(1, 2)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        hidden, features = slice(part.out * self.shape.dim), part.token_features(self.shape.dim)
        mixing = projection.slices("mix", slice(part.out), part.tokens, (part.out, len(part.tokens)))
        squeeze = {"squeeze": (hidden, features), "squeeze_bias": (hidden,)}
        return squeeze | {"mask": (features, hidden), "mask_bias": (features,)} | mixing

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 4 * shape.tokens * shape.dim * shape.out * shape.dim + shape.dim * projection.flops(shape.out, shape.tokens)
