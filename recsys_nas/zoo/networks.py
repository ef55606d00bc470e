"""The published models as networks from dense features `[B, I]` and embeddings `[B, F, D]` to logits `[B]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchrec.models.dlrm import DenseArch, InteractionArch, OverArch


def mlp_layers(width_in: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers, each followed by ReLU."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(width_in, width), nn.ReLU()]
        width_in = width
    return nn.Sequential(*layers)


class Dlrm(nn.Module):
    """DLRM from TorchRec's own parts: bottom MLP, inner products of all pairs of features, top MLP (Naumov et al., 2019)."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int) -> None:
        super().__init__()
        self.dense_arch = DenseArch(num_dense, [512, 256, 64, embedding_dim])
        self.interaction = InteractionArch(num_sparse)
        pairs = (num_sparse + 1) * num_sparse // 2
        self.over_arch = OverArch(embedding_dim + pairs, [512, 256, 1])

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        logits: Tensor = self.over_arch(self.interaction(self.dense_arch(dense), tokens))
        return logits.squeeze(1)


class DcnV2(nn.Module):
    """Crosses `x0 * (W x + b) + x` in parallel with an MLP (Wang et al., 2021, section 3.4)."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int) -> None:
        super().__init__()
        width = num_dense + num_sparse * embedding_dim
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.deep = mlp_layers(width, [400, 400, 400])
        self.head = nn.Linear(width + 400, 1)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        x0 = torch.cat([dense, tokens.flatten(1)], dim=1)
        x = x0
        for cross in self.crosses:
            x = x0 * cross(x) + x
        logits: Tensor = self.head(torch.cat([x, self.deep(x0)], dim=1))
        return logits.squeeze(1)


class Mlp(nn.Module):
    """An MLP on all features side by side."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int) -> None:
        super().__init__()
        self.layers = mlp_layers(num_dense + num_sparse * embedding_dim, [400, 400, 400])
        self.head = nn.Linear(400, 1)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(torch.cat([dense, tokens.flatten(1)], dim=1)))
        return logits.squeeze(1)


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"dlrm": Dlrm, "dcnv2": DcnV2, "mlp": Mlp}
"""By the names of `recsys_nas.zoo.catalogue.MODELS`, from (num_dense, num_sparse, embedding_dim)."""
