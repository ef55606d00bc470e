"""Self-attention between tokens (AutoInt: Song et al., 2019, section 4.4), with the projections of Vaswani et al., 2017."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules.base import Inputs, InteractionModule, Number, Part, Shape, weight


class SelfAttention(InteractionModule):
    """Tokens mixed down to T, then one head of attention between them with a residual; `[B, N, D] -> [B, T, D]`."""

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.mix = weight(shape.out, shape.tokens)
        self.query = weight(shape.dim, shape.dim)
        self.key = weight(shape.dim, shape.dim)
        self.value = weight(shape.dim, shape.dim)
        self.output = weight(shape.dim, shape.dim)

    def forward(self, inputs: Inputs) -> Tensor:
        mixed = F.linear(inputs.tokens.transpose(1, 2), self.mix).transpose(1, 2)
        query, key, value = (F.linear(mixed, w) for w in (self.query, self.key, self.value))
        scores = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(self.shape.dim)
        attended = torch.bmm(scores.softmax(-1), value)
        return F.linear(attended, self.output) + mixed

    def slices(self, part: Part) -> dict[str, tuple[Tensor | slice, ...]]:
        whole = (slice(None), slice(None))
        return {"mix": (slice(part.out), part.tokens), "query": whole, "key": whole, "value": whole, "output": whole}

    @staticmethod
    def flops(shape: Shape) -> Number:
        mixing = 2 * shape.dim * shape.tokens * shape.out
        projections = 4 * 2 * shape.out * shape.dim * shape.dim
        attention = 2 * 2 * shape.out * shape.out * shape.dim
        return mixing + projections + attention
