"""A `SearchSpace`: which architectures there are, as choices over data, with no weights and no torch.

What may be chosen stands in `SpaceRules`; the spaces that have a name are in `recsys_nas.space.named_spaces`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recsys_nas.space import genes
from recsys_nas.space.architecture import Architecture
from recsys_nas.space.block import Block
from recsys_nas.space.membership import check_member
from recsys_nas.space.rules import SpaceRules

# Many changes leave a network as it was, say of a block that nothing reads. Only a space of very few networks needs so many tries.
MAX_TRIES = 1000


@dataclass(frozen=True, order=True)
class Gate:
    """One independent choice: is `module` kept in `block` (counted from 1)?"""

    block: int
    module: str

    def __str__(self) -> str:
        return f"{self.block}/{self.module}"


@dataclass(frozen=True)
class SearchSpace:
    """Rules over tables of a fixed shape. Raises ValueError where no network of that shape could follow the rules."""

    num_dense: int
    num_sparse: int
    embedding_dim: int
    rules: SpaceRules

    def __post_init__(self) -> None:
        if self.rules.stem == "split" and not self.num_dense:
            raise ValueError("space.stem = 'split': the data has no numeric features, so the dense stream would be empty; use 'flat'")
        self.full()

    def size(self) -> int:
        """Number of members, exactly: all combinations of choices, the network of no modules left out.

        Different members can be the same network: a block that keeps nothing may be the first or the second, and an input
        counts that the chosen module does not have. `Architecture.key` tells networks apart.
        """
        return self.rules.size()

    def sample(self, generator: random.Random) -> Architecture:
        """A member drawn uniformly from all combinations of choices."""
        while True:
            drawn = [genes.draw(self.rules, number, generator).block() for number in self._numbers]
            if any(block.modules for block in drawn):
                return self.of_blocks(drawn)

    def mutate(self, member: Architecture, generator: random.Random) -> Architecture:
        """A member that differs from this one in one choice, and by its key; raises ValueError when none is found."""
        self.check(member)
        for _ in range(MAX_TRIES):
            number = generator.choice(self._numbers)
            changed = genes.mutate(genes.read(member.blocks[number - 1], self.rules, number, generator), self.rules, number, generator)
            blocks = [*member.blocks[: number - 1], changed.block(), *member.blocks[number:]]
            if any(block.modules for block in blocks):
                mutant = self.of_blocks(blocks)
                if mutant.key() != member.key():
                    return mutant
        raise ValueError(f"no change of one choice gave a different network in {MAX_TRIES} tries: the space may hold no other")

    def crossover(self, first: Architecture, second: Architecture, generator: random.Random) -> Architecture:
        """A member that takes each block from one of two, drawn evenly; it may be equal to either."""
        self.check(first)
        self.check(second)
        while True:
            blocks = [generator.choice(pair) for pair in zip(first.blocks, second.blocks, strict=True)]
            if any(block.modules for block in blocks):
                return self.of_blocks(blocks)

    def full(self) -> Architecture:
        """The network that holds every member: all modules, all sources, largest widths, all mergers. Itself a member only where
        any subset of modules may be picked."""
        rules = self.rules
        blocks = []
        for number in self._numbers:
            widths = (max(rules.dense_widths) if rules.dense_modules else 0, max(rules.token_counts) if rules.sparse_modules else 0)
            block = Block.reading(rules.open_sources(number), rules.dense_modules, widths[0], rules.sparse_modules, widths[1])
            blocks.append(Block(*widths, block.modules, rules.merger_tokens, rules.merger_tokens > 0))
        return self.of_blocks(blocks)

    def check(self, architecture: Architecture) -> None:
        """Raises ValueError, one line naming the field and the block, unless the architecture is a member."""
        for name in ("num_dense", "num_sparse", "embedding_dim"):
            mine, theirs = getattr(self, name), getattr(architecture, name)
            if mine != theirs:
                raise ValueError(f"{name} = {theirs}: the space has {mine}; this architecture is for another schema or other tables")
        check_member(architecture, self.rules)

    def contains(self, architecture: Architecture) -> bool:
        """Whether the architecture is a member, as it stands."""
        try:
            self.check(architecture)
        except ValueError:
            return False
        return True

    @property
    def gates(self) -> tuple[Gate, ...]:
        """All gates, in the order that every alpha vector follows. Raises ValueError where modules are not chosen independently."""
        rules = self.rules
        if rules.pick != "any" or len(rules.dense_widths) > 1 or len(rules.token_counts) > 1:
            raise ValueError(
                "space: a differentiable search needs a gate a module, so pick = 'any', one dense width and one token count; "
                "for this space use another search"
            )
        names = rules.dense_modules + rules.sparse_modules
        return tuple(Gate(number, name) for number in self._numbers for name in names)

    def architecture(self, kept: Iterable[Gate]) -> Architecture:
        """The member that keeps these gates; raises ValueError for a gate of another space or for none at all."""
        kept, rules = set(kept), self.rules
        if unknown := kept.difference(self.gates):
            raise ValueError(f"gate {min(unknown)} is not in this space")
        if not kept:
            raise ValueError("an architecture must keep at least one module")
        blocks = []
        for number in self._numbers:
            dense = tuple(name for name in rules.dense_modules if Gate(number, name) in kept)
            sparse = tuple(name for name in rules.sparse_modules if Gate(number, name) in kept)
            widths = (rules.dense_widths[0] if dense else 0, rules.token_counts[0] if sparse else 0)
            blocks.append(Block.reading(rules.open_sources(number), dense, widths[0], sparse, widths[1]))
        return self.of_blocks(blocks)

    def kept_gates(self, architecture: Architecture) -> tuple[Gate, ...]:
        """The gates that a member keeps; the inverse of `architecture` for one not yet made canonical."""
        kept = {Gate(number, module.name) for number, block in enumerate(architecture.blocks, start=1) for module in block.modules}
        return tuple(gate for gate in self.gates if gate in kept)

    @property
    def _numbers(self) -> range:
        return range(1, self.rules.num_blocks + 1)

    def of_blocks(self, blocks: Sequence[Block]) -> Architecture:
        """The architecture of these blocks over the tables of this space; whether it is a member is for `check` to say."""
        rules = self.rules
        return Architecture(
            self.num_dense,
            self.num_sparse,
            self.embedding_dim,
            tuple(blocks),
            rules.head_sources,
            rules.stem,
            rules.normalisation,
            rules.linear_skip,
        )
