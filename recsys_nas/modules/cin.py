"""The compressed interaction network (xDeepFM: Lian et al., 2018, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, weight


class CompressedInteraction(InteractionModule):
    """Two layers of equation 6, the feature maps of both summed over D (equation 7) and joined; `[B, N, D] -> [B, W]`.

    `X1_h = sum_ij W1_hij (x_i * x_j)`, `X2_h = sum_ij W2_hij (X1_i * x_j)`: products of two and of three tokens, W / 2 maps each (one
    more of the first where W is odd). The maps of the second layer are only summed, so the inner products of X1 and x are
    enough, D times cheaper. A narrower layer has the first maps of each layer.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        first, second = _maps(shape.out)
        self.first = weight(first, shape.tokens * shape.tokens)
        self.second = weight(second, first * shape.tokens)

    def forward(self, inputs: Inputs) -> Tensor:
        x = inputs.tokens.transpose(1, 2)
        maps = F.linear((x.unsqueeze(3) * x.unsqueeze(2)).flatten(2), self.first).transpose(1, 2)
        second = F.linear(torch.bmm(maps, x).flatten(1), self.second)
        return torch.cat([maps.sum(2), second], dim=1)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        first, second = _maps(part.out)
        earlier = torch.arange(first, device=part.tokens.device)
        return {
            "first": (slice(first), self._pairs(part.tokens, part.tokens)),
            "second": (slice(second), self._pairs(earlier, part.tokens)),
        }

    def _pairs(self, left: Tensor, tokens: Tensor) -> Tensor:
        """Columns of the products of `left`, tokens or maps, with `tokens`."""
        return (left.unsqueeze(1) * self.shape.tokens + tokens).flatten()

    @staticmethod
    def flops(shape: Shape) -> Number:
        (first, second), tokens = _maps(shape.out), shape.tokens
        return 2 * shape.dim * tokens * tokens * first + 2 * first * tokens * shape.dim + 2 * first * tokens * second


def _maps(out: int) -> tuple[int, int]:
    """Feature maps of the two layers."""
    return out - out // 2, out // 2
