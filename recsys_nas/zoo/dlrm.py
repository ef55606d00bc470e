"""DLRM: the numeric features become one more vector, and all pairs of vectors are multiplied (Naumov et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchrec.models.dlrm import DenseArch, InteractionArch, OverArch


class Dlrm(nn.Module):
    """DLRM from TorchRec's own parts: bottom MLP, inner products of all pairs of features, top MLP."""

    def __init__(
        self,
        num_dense: int,
        num_sparse: int,
        embedding_dim: int,
        bottom: Sequence[int] = (512, 256, 64),
        top: Sequence[int] = (512, 256),
    ) -> None:
        super().__init__()
        self.dense_arch = DenseArch(num_dense, [*bottom, embedding_dim])
        self.interaction = InteractionArch(num_sparse)
        pairs = (num_sparse + 1) * num_sparse // 2
        self.over_arch = OverArch(embedding_dim + pairs, [*top, 1])

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        logits: Tensor = self.over_arch(self.interaction(self.dense_arch(dense), tokens))
        return logits.squeeze(1)
