"""The published models as networks from dense features `[B, I]` and embeddings `[B, F, D]` to logits `[B]`."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from recsys_nas.model import InteractionArch
from recsys_nas.zoo.architectures import ARCHITECTURES
from recsys_nas.zoo.autoint import AutoIntPlus
from recsys_nas.zoo.dcnv2 import DcnV2
from recsys_nas.zoo.dlrm import Dlrm
from recsys_nas.zoo.factorisation import DeepFm, Fm, XDeepFm
from recsys_nas.zoo.finalmlp import FinalMlp
from recsys_nas.zoo.mlp import Mlp
from recsys_nas.zoo.wukong import Wukong

Builder = Callable[..., nn.Module]


def _architecture(name: str) -> Builder:
    def build(num_dense: int, num_sparse: int, embedding_dim: int) -> nn.Module:
        return InteractionArch(ARCHITECTURES[name](num_dense, num_sparse, embedding_dim))

    return build


NETWORKS: dict[str, Builder] = {
    "dlrm": Dlrm,
    "dcnv2": DcnV2,
    "mlp": Mlp,
    "fm": Fm,
    "deepfm": DeepFm,
    "xdeepfm": XDeepFm,
    "autoint_plus": AutoIntPlus,
    "finalmlp": FinalMlp,
    "wukong": Wukong,
} | {name: _architecture(name) for name in ARCHITECTURES}
"""By the names of `recsys_nas.zoo.catalogue.MODELS`, from (num_dense, num_sparse, embedding_dim) and, by name, sizes of its own."""
