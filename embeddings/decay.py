"""Weight decay of embedding tables, for any kernel, optimizer and sharding plan.

fbgemm's own decay is ignored by its CPU kernels without a word, and by most of its optimizers on any device. Here the
penalty reaches the tables through the gradient of the embeddings that were looked up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def decayed(tokens: Tensor, weight_decay: float) -> Tensor:
    """`tokens` `[B, F, D]` unchanged; their gradient gets that of `weight_decay / 2` times the mean over rows of the sum of squares.

    So a row of a table is pulled to zero as often as it is looked up, and rows that are not stay as they are.
    """
    if not weight_decay or not tokens.requires_grad:
        return tokens
    out: Tensor = _Decayed.apply(tokens, weight_decay)
    return out


class _Decayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight_decay: float) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.scale = weight_decay / len(tokens)
        return tokens.view_as(tokens)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (tokens,) = ctx.saved_tensors
        return gradient + ctx.scale * tokens, None
