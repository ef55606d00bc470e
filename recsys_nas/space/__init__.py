"""Choices as data: architectures, and the spaces they come from. Imports no torch and nothing of ours outside this folder."""

from __future__ import annotations

from typing import Protocol

from recsys_nas.space.architecture import Architecture, Block, load_architecture
from recsys_nas.space.modules import CATALOGUE, ModuleKind, module_kind
from recsys_nas.space.search_space import Gate, SearchSpace

__all__ = [
    "CATALOGUE",
    "Architecture",
    "Block",
    "Gate",
    "ModuleKind",
    "SearchSpace",
    "SpaceChoices",
    "load_architecture",
    "module_kind",
    "space_from_config",
]


class SpaceChoices(Protocol):
    """What a config must say about a space; `recsys_nas.config.SpaceConfig` does."""

    @property
    def num_blocks(self) -> int: ...
    @property
    def dense_width(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def dense_modules(self) -> tuple[str, ...]: ...
    @property
    def sparse_modules(self) -> tuple[str, ...]: ...


def space_from_config(config: SpaceChoices, num_dense: int, num_sparse: int, embedding_dim: int) -> SearchSpace:
    """The space that a config names, over tables of this shape. Raises ValueError for modules that do not exist."""
    return SearchSpace(
        num_dense,
        num_sparse,
        embedding_dim,
        config.num_blocks,
        config.dense_width,
        config.num_tokens,
        config.dense_modules,
        config.sparse_modules,
    )
