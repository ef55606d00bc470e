"""DCN V2: explicit bit-wise crosses beside an MLP (Wang et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys_nas.precision import LogitLayer
from recsys_nas.zoo.mlp import DEEP, mlp_layers


class DcnV2(nn.Module):
    """Crosses `x0 * (W x + b) + x` in parallel with an MLP (section 3.4)."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int, crosses: int = 3, hidden: Sequence[int] = DEEP) -> None:
        super().__init__()
        width = num_dense + num_sparse * embedding_dim
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(crosses))
        self.deep = mlp_layers(width, hidden)
        self.head = LogitLayer(width + hidden[-1], 1)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        x0 = torch.cat([dense, tokens.flatten(1)], dim=1)
        x = x0
        for cross in self.crosses:
            x = x0 * cross(x) + x
        logits: Tensor = self.head(torch.cat([x, self.deep(x0)], dim=1))
        return logits.squeeze(1)
