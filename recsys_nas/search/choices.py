"""A space as a list of categorical choices: what policies put probabilities on, and what predictors read of an architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys_nas.space import Architecture, Block, SearchSpace, Stream
from recsys_nas.space.genes import Genes

Reading = Callable[[Block], int | None]


@dataclass(frozen=True)
class Choice:
    """One choice of block `block` (from 1) among `size` options. `of` says what a block chose; None: it has no say there."""

    block: int
    name: str
    size: int
    of: Reading


@dataclass(frozen=True)
class Choices:
    """All choices of a space that has members to choose from, block by block."""

    space: SearchSpace

    @cached_property
    def all(self) -> tuple[Choice, ...]:
        return tuple(choice for number in range(1, self.space.rules.num_blocks + 1) for choice in self._of_block(number))

    @cached_property
    def width(self) -> int:
        """Length of an encoding."""
        return sum(choice.size for choice in self.all)

    def encode(self, architecture: Architecture) -> NDArray[np.float32]:
        """One-hot by choice, `[width]`; zeros for a choice without effect, so equal networks of equal blocks have equal encodings."""
        live = architecture.live()
        encoding = np.zeros(self.width, np.float32)
        start = 0
        for choice in self.all:
            chosen = choice.of(live.blocks[choice.block - 1])
            if chosen is not None:
                encoding[start + chosen] = 1.0
            start += choice.size
        return encoding

    def decode(self, values: Sequence[int]) -> Architecture | None:
        """The member of these options, one a choice; None for the network without any module.

        Sources are chosen one by one: where none is, the newest is read, and of too many the newest.
        """
        named = {(choice.block, choice.name): value for choice, value in zip(self.all, values, strict=True)}
        blocks = [self._genes(number, named).block() for number in range(1, self.space.rules.num_blocks + 1)]
        return self.space.of_blocks(blocks) if any(block.modules for block in blocks) else None

    def _of_block(self, number: int) -> list[Choice]:
        rules = self.space.rules
        found = self._stream(number, "dense", rules.dense_modules, rules.dense_widths)
        found += self._stream(number, "sparse", rules.sparse_modules, rules.token_counts)
        if rules.connect == "any" and number > 1:
            for port in ("dense", "sparse"):
                found += [Choice(number, f"{port} reads {source}", 2, _reads(port, source)) for source in range(number)]
            if rules.two_inputs:
                found += [Choice(number, name, number, _of_pair(name)) for name in ("left", "right")]
        if rules.merger_tokens:
            found.append(Choice(number, "tokens_to_dense", 2, lambda block: int(block.tokens_to_dense)))
            found.append(Choice(number, "dense_to_tokens", 2, lambda block: int(block.dense_to_tokens > 0)))
        return found

    def _stream(self, number: int, stream: Stream, modules: tuple[str, ...], widths: tuple[int, ...]) -> list[Choice]:
        found = []
        if self.space.rules.pick == "any":
            found += [Choice(number, f"keeps {name}", 2, _keeps(stream, name)) for name in modules]
        elif len(modules) > 1:
            found.append(Choice(number, f"{stream} module", len(modules), _module_of(stream, modules)))
        if modules and len(widths) > 1:
            found.append(Choice(number, f"{stream} width", len(widths), _width_of(stream, widths)))
        return found

    def _genes(self, number: int, named: dict[tuple[int, str], int]) -> Genes:
        rules = self.space.rules

        def value(name: str) -> int:
            return named.get((number, name), 0)

        def modules(stream: Stream, known: tuple[str, ...]) -> tuple[str, ...]:
            if rules.pick == "one":
                return (known[value(f"{stream} module")],)
            return tuple(name for name in known if value(f"keeps {name}"))

        def sources(port: str) -> tuple[int, ...]:
            open_ones = rules.open_sources(number)
            if rules.connect != "any":
                return open_ones
            chosen = [source for source in open_ones if value(f"{port} reads {source}")] or [number - 1]
            return tuple(chosen[-rules.max_sources :])

        pair = ((value("left"),), (value("right"),)) if rules.connect == "any" else (rules.open_sources(number),) * 2
        return Genes(
            modules("dense", rules.dense_modules),
            modules("sparse", rules.sparse_modules),
            rules.dense_widths[value("dense width")],
            rules.token_counts[value("sparse width")],
            sources("dense"),
            sources("sparse"),
            *pair,
            bool(value("tokens_to_dense")),
            rules.merger_tokens * value("dense_to_tokens"),
        )


def _named(block: Block, stream: Stream) -> tuple[str, ...]:
    return block.dense if stream == "dense" else block.sparse


def _keeps(stream: Stream, name: str) -> Reading:
    return lambda block: int(name in _named(block, stream))


def _module_of(stream: Stream, modules: tuple[str, ...]) -> Reading:
    return lambda block: modules.index(_named(block, stream)[0]) if _named(block, stream) else None


def _width_of(stream: Stream, widths: tuple[int, ...]) -> Reading:
    def read(block: Block) -> int | None:
        width = block.dense_width if stream == "dense" else block.num_tokens
        return widths.index(width) if width else None

    return read


def _reads(port: str, source: int) -> Reading:
    def read(block: Block) -> int | None:
        # A module of two dense inputs has sources of its own.
        sets = [getattr(m, port) for m in block.modules if not (port == "dense" and m.right)]
        return int(any(source in sources for sources in sets)) if any(sets) else None

    return read


def _of_pair(name: str) -> Reading:
    def read(block: Block) -> int | None:
        for module in block.modules:
            if module.right:
                return module.dense[0] if name == "left" and module.dense else module.right[0]
        return None

    return read
