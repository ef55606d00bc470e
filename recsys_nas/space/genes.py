"""The choices of one block as genes: drawn uniformly, read back from a block, and changed one at a time.

A gene may be without effect, say the second dense input of a module that has only one; such genes are in no `Block`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, TypeVar

from recsys_nas.space.block import Block, ModuleChoice
from recsys_nas.space.modules import module_kind
from recsys_nas.space.rules import SpaceRules

T = TypeVar("T")


@dataclass(frozen=True)
class Genes:
    """One block. `left`, `right`: what a module of two dense inputs reads, in a space where sources are chosen."""

    dense_modules: tuple[str, ...]
    sparse_modules: tuple[str, ...]
    dense_width: int
    num_tokens: int
    dense_sources: tuple[int, ...]
    sparse_sources: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    tokens_to_dense: bool
    dense_to_tokens: int

    def block(self) -> Block:
        """The genes that have an effect, expressed."""
        modules = tuple(self._module(name) for name in self.dense_modules + self.sparse_modules)
        dense_width = self.dense_width if self.dense_modules else 0
        num_tokens = self.num_tokens if self.sparse_modules else 0
        return Block(dense_width, num_tokens, modules, self.dense_to_tokens, self.tokens_to_dense)

    def _module(self, name: str) -> ModuleChoice:
        reads = module_kind(name, "module").reads
        dense = self.left if "right" in reads else self.dense_sources
        return ModuleChoice(
            name,
            dense if "dense" in reads else (),
            self.sparse_sources if "sparse" in reads else (),
            self.right if "right" in reads else (),
        )


def draw(rules: SpaceRules, number: int, generator: Random) -> Genes:
    """Every gene of block `number`, uniformly over all its choices."""
    dense_modules, dense_width = _draw_stream(rules, "dense", generator)
    sparse_modules, num_tokens = _draw_stream(rules, "sparse", generator)
    return Genes(
        dense_modules,
        sparse_modules,
        dense_width,
        num_tokens,
        _draw_sources(rules, number, generator),
        _draw_sources(rules, number, generator),
        _draw_pair_member(rules, number, generator),
        _draw_pair_member(rules, number, generator),
        bool(rules.merger_tokens) and generator.random() < 0.5,
        rules.merger_tokens * generator.randrange(2) if rules.merger_tokens else 0,
    )


def read(block: Block, rules: SpaceRules, number: int, generator: Random) -> Genes:
    """The genes of a block of the space; those that have no effect in it are drawn."""
    genes = replace(
        draw(rules, number, generator),
        dense_modules=block.dense,
        sparse_modules=block.sparse,
        dense_width=block.dense_width or generator.choice(rules.dense_widths),
        num_tokens=block.num_tokens or generator.choice(rules.token_counts),
        tokens_to_dense=block.tokens_to_dense,
        dense_to_tokens=block.dense_to_tokens,
    )
    if rules.connect != "any":
        return genes
    for module in block.modules:
        if module.right:
            genes = replace(genes, left=module.dense, right=module.right)
        elif module.dense:
            genes = replace(genes, dense_sources=module.dense)
        if module.sparse:
            genes = replace(genes, sparse_sources=module.sparse)
    return genes


def mutate(genes: Genes, rules: SpaceRules, number: int, generator: Random) -> Genes:
    """Change one gene of block `number`, drawn among those that the rules leave open."""
    changes = _changes(rules, number)
    return generator.choice(changes)(genes, generator) if changes else genes


def _changes(rules: SpaceRules, number: int) -> list[Callable[[Genes, Random], Genes]]:
    changes: list[Callable[[Genes, Random], Genes]] = []
    for name, modules in (("dense_modules", rules.dense_modules), ("sparse_modules", rules.sparse_modules)):
        if rules.pick == "any" and modules:
            changes.append(lambda genes, generator, name=name, of=modules: _toggle(genes, name, of, generator))  # type: ignore[misc]
        elif len(modules) > 1:
            changes.append(_another(name, [(module,) for module in modules]))
    for name, values in (("dense_width", rules.dense_widths), ("num_tokens", rules.token_counts)):
        if len(values) > 1:
            changes.append(_another(name, list(values)))
    if rules.connect == "any" and number > 1:
        for name in ("dense_sources", "sparse_sources"):
            changes.append(lambda genes, generator, name=name: replace(genes, **{name: _draw_sources(rules, number, generator)}))  # type: ignore[misc]
        if rules.two_inputs:
            changes += [_another(name, [(source,) for source in range(number)]) for name in ("left", "right")]
    if rules.merger_tokens:
        changes += [_another("tokens_to_dense", [False, True]), _another("dense_to_tokens", [0, rules.merger_tokens])]
    return changes


def _another(name: str, values: list[T]) -> Callable[[Genes, Random], Genes]:
    """A change of one gene to a value other than its own."""

    def change(genes: Genes, generator: Random) -> Genes:
        changed: dict[str, Any] = {name: generator.choice([value for value in values if value != getattr(genes, name)])}
        return replace(genes, **changed)

    return change


def _toggle(genes: Genes, name: str, modules: tuple[str, ...], generator: Random) -> Genes:
    kept, module = getattr(genes, name), generator.choice(modules)
    changed: dict[str, Any] = {name: tuple(other for other in modules if (other in kept) != (other == module))}
    return replace(genes, **changed)


def _draw_stream(rules: SpaceRules, stream: Literal["dense", "sparse"], generator: Random) -> tuple[tuple[str, ...], int]:
    modules, widths = (rules.dense_modules, rules.dense_widths) if stream == "dense" else (rules.sparse_modules, rules.token_counts)
    if rules.pick == "one":
        return (generator.choice(modules),), generator.choice(widths)
    subset, width = divmod(generator.randrange(rules.stream_choices(stream)) - 1, len(widths))
    if subset < 0:
        return (), 0
    return tuple(module for i, module in enumerate(modules) if (subset + 1) >> i & 1), widths[width]


def _draw_sources(rules: SpaceRules, number: int, generator: Random) -> tuple[int, ...]:
    sources = rules.open_sources(number)
    if rules.connect != "any":
        return sources
    counts = range(1, min(rules.max_sources, number) + 1)
    (count,) = generator.choices(counts, [math.comb(number, count) for count in counts])
    return tuple(sorted(generator.sample(sources, count)))


def _draw_pair_member(rules: SpaceRules, number: int, generator: Random) -> tuple[int, ...]:
    sources = rules.open_sources(number)
    return (generator.choice(sources),) if rules.connect == "any" else sources
