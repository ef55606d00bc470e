"""AutoInt+: self-attention between fields beside an MLP (Song et al., 2019).

Letters: B batch, F fields, D width of a field, A attention width, over all heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.precision import LogitLayer
from recsys_nas.zoo.fields import Fields, FirstOrder
from recsys_nas.zoo.mlp import DEEP, Mlp


class InteractingLayer(nn.Module):
    """Multi-head attention between fields with a residual, `[B, F, D]` -> `[B, F, A]` (equations 5 to 8); scores are not scaled, and
    the sum is normalised (LayerNorm), as FuxiCTR's `use_scale: False, layer_norm: True` has it."""

    def __init__(self, width: int, attention_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value = (nn.Linear(width, attention_dim, bias=False) for _ in range(3))
        self.residual = nn.Linear(width, attention_dim, bias=False) if width != attention_dim else nn.Identity()
        self.norm = nn.LayerNorm(attention_dim)

    def forward(self, fields: Tensor) -> Tensor:
        query, key, value = (self._heads(project(fields)) for project in (self.query, self.key, self.value))
        attended = torch.matmul(torch.matmul(query, key.transpose(2, 3)).softmax(3), value)
        joined = attended.transpose(1, 2).flatten(2)
        return F.relu(self.norm(joined + self.residual(fields)))

    def _heads(self, projected: Tensor) -> Tensor:
        """`[B, F, A]` -> `[B, heads, F, A / heads]`."""
        return projected.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class AutoIntPlus(nn.Module):
    """Interacting layers, an MLP and a first-order part, side by side."""

    def __init__(
        self,
        num_dense: int,
        num_sparse: int,
        embedding_dim: int,
        attention_dims: Sequence[int] = (256, 256, 256),
        num_heads: int = 2,
        hidden: Sequence[int] = DEEP,
    ) -> None:
        super().__init__()
        if wrong := [width for width in attention_dims if width % num_heads]:
            raise ValueError(f"{num_heads} heads do not divide an attention of {wrong[0]}")
        num_fields = num_dense + num_sparse
        widths = [embedding_dim, *attention_dims]
        self.fields = Fields(num_dense, embedding_dim)
        self.first_order = FirstOrder(num_dense, num_sparse, embedding_dim)
        self.attention = nn.Sequential(
            *(InteractingLayer(before, after, num_heads) for before, after in zip(widths, attention_dims, strict=False))
        )
        self.head = LogitLayer(num_fields * widths[-1], 1)
        self.deep = Mlp(0, num_fields, embedding_dim, hidden)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        fields: Tensor = self.fields(dense, tokens)
        shallow: Tensor = self.first_order(dense, tokens) + self.head(self.attention(fields).flatten(1))
        deep: Tensor = self.deep(dense[:, :0], fields)
        return shallow.squeeze(1) + deep
