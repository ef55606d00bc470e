"""Factorization machines and the deep models around them: FM, DeepFM, xDeepFM.

Letters: B batch, F fields, D embedding dim, H feature maps of a CIN layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys_nas.precision import LogitLayer
from recsys_nas.zoo.fields import Fields, FirstOrder
from recsys_nas.zoo.mlp import DEEP, Mlp


def pairwise_sum(fields: Tensor) -> Tensor:
    """The sum of the inner products of all pairs of fields, in linear time (Rendle, 2010, lemma 3.1): `[B, F, D]` -> `[B]`."""
    return 0.5 * (fields.sum(1).square() - fields.square().sum(1)).sum(1)


class Fm(nn.Module):
    """A factorization machine of degree two (Rendle, 2010, equation 1)."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int) -> None:
        super().__init__()
        self.fields = Fields(num_dense, embedding_dim)
        self.first_order = FirstOrder(num_dense, num_sparse, embedding_dim)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        first: Tensor = self.first_order(dense, tokens)
        return first.squeeze(1) + pairwise_sum(self.fields(dense, tokens))


class DeepFm(nn.Module):
    """A factorization machine beside an MLP on the same vectors (Guo et al., 2017)."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int, hidden: Sequence[int] = DEEP) -> None:
        super().__init__()
        self.fields = Fields(num_dense, embedding_dim)
        self.first_order = FirstOrder(num_dense, num_sparse, embedding_dim)
        self.deep = Mlp(0, num_dense + num_sparse, embedding_dim, hidden)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        fields: Tensor = self.fields(dense, tokens)
        first: Tensor = self.first_order(dense, tokens)
        deep: Tensor = self.deep(dense[:, :0], fields)
        return first.squeeze(1) + pairwise_sum(fields) + deep


class CompressedInteractionNetwork(nn.Module):
    """The CIN `[B, F, D]` -> `[B, 1]`: every layer multiplies its maps with all fields, dimension by dimension, and compresses the
    products to new maps; all maps, summed over D, reach the output (Lian et al., 2018, equations 6 and 7)."""

    def __init__(self, fields: int, maps: Sequence[int]) -> None:
        super().__init__()
        widths = [fields, *maps]
        self.layers = nn.ModuleList(nn.Linear(fields * before, after) for before, after in zip(widths, maps, strict=False))
        self.head = LogitLayer(sum(maps), 1)

    def forward(self, fields: Tensor) -> Tensor:
        hidden, pooled = fields, []
        for layer in self.layers:
            products = (fields.unsqueeze(2) * hidden.unsqueeze(1)).flatten(1, 2)
            hidden = layer(products.transpose(1, 2)).transpose(1, 2)
            pooled.append(hidden.sum(2))
        logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits


class XDeepFm(nn.Module):
    """A CIN, an MLP and a first-order part, side by side (Lian et al., 2018)."""

    def __init__(
        self,
        num_dense: int,
        num_sparse: int,
        embedding_dim: int,
        maps: Sequence[int] = (16, 16),
        hidden: Sequence[int] = DEEP,
    ) -> None:
        super().__init__()
        self.fields = Fields(num_dense, embedding_dim)
        self.first_order = FirstOrder(num_dense, num_sparse, embedding_dim)
        self.cin = CompressedInteractionNetwork(num_dense + num_sparse, maps)
        self.deep = Mlp(0, num_dense + num_sparse, embedding_dim, hidden)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        fields: Tensor = self.fields(dense, tokens)
        shallow: Tensor = self.first_order(dense, tokens) + self.cin(fields)
        deep: Tensor = self.deep(dense[:, :0], fields)
        return shallow.squeeze(1) + deep
