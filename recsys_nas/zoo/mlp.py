"""The plain deep network, and the layers of it that other models hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys_nas.precision import LogitLayer

DEEP = (400, 400, 400)
"""The MLP of BARS on Criteo_x1 (ranking/ctr/DNN/DNN_criteo_x1), which most of the zoo shares."""


def mlp_layers(width_in: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers, each followed by ReLU."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(width_in, width), nn.ReLU()]
        width_in = width
    return nn.Sequential(*layers)


class Mlp(nn.Module):
    """An MLP on all features side by side."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int, hidden: Sequence[int] = DEEP) -> None:
        super().__init__()
        self.layers = mlp_layers(num_dense + num_sparse * embedding_dim, hidden)
        self.head = LogitLayer(hidden[-1], 1)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(torch.cat([dense, tokens.flatten(1)], dim=1)))
        return logits.squeeze(1)
