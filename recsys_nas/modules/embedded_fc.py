"""A fully connected layer across tokens (NASRec's EmbedFC: Zhang et al., 2023, section 3.1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import InteractionModule, Number, Part, Shape, bias, weight


class EmbeddedFC(InteractionModule):
    """Each new token is a learnt mixture of all tokens, rectified; `[B, N, D] -> [B, T, D]`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.weight = weight(shape.out, shape.tokens)
        self.bias = bias(shape.out)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        return F.relu(F.linear(tokens.transpose(1, 2), self.weight, self.bias)).transpose(1, 2)

    def slices(self, part: Part) -> dict[str, tuple[Tensor | slice, ...]]:
        out = slice(part.out)
        return {"weight": (out, part.tokens), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dim * shape.tokens * shape.out
