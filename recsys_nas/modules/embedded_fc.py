"""A fully connected layer across tokens (NASRec's EmbedFC: Zhang et al., 2023, section 3.1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, Number, Part, RectifiedModule, Shape, bias, weight


class EmbeddedFC(RectifiedModule):
    """Each new token is a learnt mixture of all tokens, rectified; `[B, N, D] -> [B, T, D]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.weight = weight(shape.out, shape.tokens)
        self.bias = bias(shape.out)

    def linear(self, inputs: Inputs) -> Tensor:
        mixed = F.linear(inputs.tokens.transpose(1, 2), self.weight, self.bias).transpose(1, 2)
        # What reads the tokens copies them into order anyway; rectified before that, the backward pass meets two layouts, and takes
        # up to half as long again.
        return mixed.contiguous()

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        return {"weight": (out, part.tokens), "bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        return 2 * shape.dim * shape.tokens * shape.out
