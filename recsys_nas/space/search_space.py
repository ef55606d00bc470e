"""A `SearchSpace`: which architectures there are, as choices over data, with no weights and no torch.

`distdnas`: every module of every block has a gate of its own, so any subset may survive; every block reads the stem and
all earlier blocks, and the head reads all blocks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from recsys_nas.space.architecture import Architecture, Block
from recsys_nas.space.modules import check_modules


@dataclass(frozen=True, order=True)
class Gate:
    """One independent choice: is `module` kept in `block` (counted from 1)?"""

    block: int
    module: str

    def __str__(self) -> str:
        return f"{self.block}/{self.module}"


@dataclass(frozen=True)
class SearchSpace:
    """The `distdnas` space over tables of a fixed shape. Raises ValueError for module names that do not exist."""

    num_dense: int
    num_sparse: int
    embedding_dim: int
    num_blocks: int
    dense_width: int
    num_tokens: int
    dense_modules: tuple[str, ...]
    sparse_modules: tuple[str, ...]

    def __post_init__(self) -> None:
        check_modules(self.dense_modules, "dense", "space.{}_modules")
        check_modules(self.sparse_modules, "sparse", "space.{}_modules")
        if not self.gates:
            raise ValueError("space: no modules are listed, so there is nothing to search")

    @property
    def gates(self) -> tuple[Gate, ...]:
        """All gates, in the order that every alpha vector follows."""
        names = self.dense_modules + self.sparse_modules
        return tuple(Gate(block, name) for block in range(1, self.num_blocks + 1) for name in names)

    def size(self) -> int:
        """Number of members: subsets of the gates, the empty one left out."""
        return 2 ** len(self.gates) - 1

    def architecture(self, kept: Iterable[Gate]) -> Architecture:
        """The member that keeps these gates; raises ValueError for a gate of another space or for none at all."""
        kept = set(kept)
        if unknown := kept.difference(self.gates):
            raise ValueError(f"gate {min(unknown)} is not in this space")
        if not kept:
            raise ValueError("an architecture must keep at least one module")
        blocks = []
        for number in range(1, self.num_blocks + 1):
            dense = tuple(name for name in self.dense_modules if Gate(number, name) in kept)
            sparse = tuple(name for name in self.sparse_modules if Gate(number, name) in kept)
            widths = (self.dense_width if dense else 0, self.num_tokens if sparse else 0)
            blocks.append(Block(tuple(range(number)), dense, widths[0], sparse, widths[1]))
        head = tuple(range(1, self.num_blocks + 1))
        return Architecture(self.num_dense, self.num_sparse, self.embedding_dim, tuple(blocks), head)

    def full(self) -> Architecture:
        """The member that keeps every module: the network of the whole supernet."""
        return self.architecture(self.gates)

    def sample(self, generator: random.Random) -> Architecture:
        """A member drawn uniformly."""
        gates = self.gates
        bits = generator.randint(1, self.size())
        return self.architecture(gate for i, gate in enumerate(gates) if bits >> i & 1)

    def kept_gates(self, architecture: Architecture) -> tuple[Gate, ...]:
        """The gates that a member keeps; the inverse of `architecture` for one not yet made canonical."""
        kept = {Gate(number, name) for number, block in enumerate(architecture.blocks, start=1) for name in block.modules}
        return tuple(gate for gate in self.gates if gate in kept)
