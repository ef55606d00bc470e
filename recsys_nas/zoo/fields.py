"""All features as fields: models that work on vectors alone give every numeric feature a vector of its own.

Letters: B batch, I numeric features, S sparse features, F = I + S fields, D embedding dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys_nas.precision import LogitLayer

VECTOR_SCALE = 0.01


class Fields(nn.Module):
    """Numeric feature i becomes `x_i * v_i` (AutoInt: Song et al., 2019, section 4.3): `[B, I]`, `[B, S, D]` -> `[B, F, D]`."""

    def __init__(self, num_dense: int, embedding_dim: int) -> None:
        super().__init__()
        # Small, as the rows of the tables are: products of a dozen large vectors would swamp the first logits.
        self.vectors = nn.Parameter(torch.randn(num_dense, embedding_dim) * VECTOR_SCALE)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        return torch.cat([dense.unsqueeze(2) * self.vectors, tokens], dim=1)


class FirstOrder(nn.Module):
    """The first-order part `[B, I]`, `[B, S, D]` -> `[B, 1]`: a weight for each numeric feature and, for each id, the inner product of
    its embedding with a vector of its column.

    The papers keep a second table with a scalar an id. A model here has one table a column, so the scalar is read off the
    embedding: any weight an id can be had, at `S * D` parameters for one an id.
    """

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int) -> None:
        super().__init__()
        self.weights = LogitLayer(num_dense + num_sparse * embedding_dim, 1)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        weighted: Tensor = self.weights(torch.cat([dense, tokens.flatten(1)], dim=1))
        return weighted
