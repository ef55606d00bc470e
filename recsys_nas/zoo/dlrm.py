"""DLRM: the numeric features become one more vector, and all pairs of vectors are multiplied (Naumov et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchrec.models.dlrm import DenseArch, InteractionArch
from torchrec.modules.mlp import MLP

from recsys_nas.precision import LogitLayer


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
        # TorchRec's OverArch, its last layer kept in float32.
        self.over_arch = nn.Sequential(MLP(embedding_dim + pairs, [*top], bias=True, activation="relu"), LogitLayer(top[-1], 1))

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        logits: Tensor = self.over_arch(self.interaction(self.dense_arch(dense), tokens))
        return logits.squeeze(1)
