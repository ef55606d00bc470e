"""Choices as data: architectures, and the spaces they come from. Imports no torch and nothing of ours outside this folder."""

from __future__ import annotations

from typing import Protocol

from recsys_nas.space.architecture import STREAM_OF, Architecture, load_architecture
from recsys_nas.space.block import PORTS, Block, ModuleChoice, Port
from recsys_nas.space.modules import CATALOGUE, ModuleKind, Stream, module_kind
from recsys_nas.space.named_spaces import NAMED_SPACES
from recsys_nas.space.rules import SpaceRules
from recsys_nas.space.search_space import Gate, SearchSpace

__all__ = [
    "CATALOGUE",
    "NAMED_SPACES",
    "PORTS",
    "STREAM_OF",
    "Architecture",
    "Block",
    "Gate",
    "ModuleChoice",
    "ModuleKind",
    "Port",
    "SearchSpace",
    "SpaceChoices",
    "SpaceRules",
    "Stream",
    "load_architecture",
    "module_kind",
    "space_from_config",
]


class SpaceChoices(Protocol):
    """What a config must say about a space; `recsys_nas.config.SpaceConfig` does."""

    @property
    def rules(self) -> SpaceRules: ...


def space_from_config(config: SpaceChoices, num_dense: int, num_sparse: int, embedding_dim: int) -> SearchSpace:
    """The space that a config names, over tables of this shape. Raises ValueError where no network of that shape could follow its rules."""
    return SearchSpace(num_dense, num_sparse, embedding_dim, config.rules)
