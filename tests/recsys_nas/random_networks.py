"""Random supernets, members of them and search spaces, small enough to run by the hundred and as odd as the rules allow.

A strategy draws one number and derives the rest from it, which is some ten times faster than a draw for every choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from recsys_nas.space import CATALOGUE, PORTS, Architecture, Block, Gate, ModuleChoice, SearchSpace, SpaceRules, module_kind

DENSE_MODULES = tuple(name for name, kind in CATALOGUE.items() if kind.makes == "dense")
SPARSE_MODULES = tuple(name for name, kind in CATALOGUE.items() if kind.makes == "sparse")
SILENCE_IS_ABSENCE = ("linear", "dot_product", "cross", "fm", "embedded_fc", "self_attention")
"""Modules to which an input of zeros is the same as no input: a shut gate leaves the network that lacks the module."""

T = TypeVar("T")


def _drawn(make: Callable[[Random], T]) -> st.SearchStrategy[T]:
    return st.integers(0, 2**32 - 1).map(lambda seed: make(Random(seed)))


def hulls() -> st.SearchStrategy[Architecture]:
    return _drawn(random_hull)


def hulls_and_members() -> st.SearchStrategy[tuple[Architecture, Architecture]]:
    """A network, and one within it."""

    def make(generator: Random) -> tuple[Architecture, Architecture]:
        hull = random_hull(generator)
        return hull, random_member(generator, hull)

    return _drawn(make)


def hulls_and_thinned() -> st.SearchStrategy[tuple[Architecture, Architecture]]:
    """A network without mergers, of modules to which silence is absence, and the same with some modules taken out."""

    def make(generator: Random) -> tuple[Architecture, Architecture]:
        hull = random_hull(generator, SILENCE_IS_ABSENCE, mergers=False)
        thinned = replace(hull, blocks=(), head=(0,))
        for block in hull.blocks:
            kept = hearing(thinned, block, thinned_out(generator, block.modules))
            thinned = replace(thinned, blocks=(*thinned.blocks, kept))
        return hull, replace(thinned, head=hull.head)

    return _drawn(make)


def spaces(
    dense: tuple[str, ...] = DENSE_MODULES, sparse: tuple[str, ...] = SPARSE_MODULES, max_gates: int = 12
) -> st.SearchStrategy[SearchSpace]:
    return _drawn(lambda generator: random_space(generator, dense, sparse, max_gates))


def spaces_and_gates(modules: Iterable[str] = CATALOGUE) -> st.SearchStrategy[tuple[SearchSpace, tuple[Gate, ...]]]:
    """A space of these modules and some of its gates, at least one."""
    known = set(modules)
    dense, sparse = (tuple(name for name in of if name in known) for of in (DENSE_MODULES, SPARSE_MODULES))

    def make(generator: Random) -> tuple[SearchSpace, tuple[Gate, ...]]:
        space = random_space(generator, dense, sparse, max_gates=18)
        return space, subset(generator, space.gates, least=1)

    return _drawn(make)


def subset(generator: Random, of: Iterable[T], least: int = 0) -> tuple[T, ...]:
    """Some of them, rather more than fewer, in any order."""
    things = list(of)
    sizes = [generator.randint(min(least, len(things)), len(things)) for _ in range(3)]
    return tuple(generator.sample(things, max(sizes)))


def thinned_out(generator: Random, modules: Iterable[ModuleChoice]) -> tuple[ModuleChoice, ...]:
    """Some of each stream's modules, or none, so that later inputs move up."""
    kept: tuple[ModuleChoice, ...] = ()
    for stream in ("dense", "sparse"):
        if generator.random() < 0.75:
            kept += subset(generator, [module for module in modules if module.makes == stream])
    return kept


def random_hull(generator: Random, modules: Iterable[str] = CATALOGUE, mergers: bool = True) -> Architecture:
    """1 to 4 blocks, both stems, each normalisation, with and without linear skip; blocks may be empty or lead nowhere."""
    hull = Architecture(
        num_dense=generator.randint(1, 4),
        num_sparse=generator.randint(1, 5),
        embedding_dim=generator.randint(2, 4),
        blocks=(),
        head=(0,),
        stem=generator.choice(["flat", "split"]),
        normalisation=generator.choice(["rms", "layer", "batch", "none"]),
        linear_skip=generator.random() < 0.5,
    )
    names = list(modules)
    for number in range(1, generator.randint(1, 4) + 1):
        chosen = generator.sample(names, generator.randint(0, min(6, len(names))))
        read = tuple(_random_reader(generator, name, number) for name in chosen)
        block = hearing(hull, Block(generator.randint(1, 6), generator.randint(1, 5)), read)
        hull = replace(hull, blocks=(*hull.blocks, _with_mergers(generator, block, 3, mergers)))
    head = subset(generator, range(len(hull.blocks) + 1))
    return replace(hull, head=head if hull.linear_skip else tuple({0, *head}))


def _random_reader(generator: Random, name: str, number: int) -> ModuleChoice:
    reads = module_kind(name, "").reads
    return ModuleChoice(name, *(subset(generator, range(number), least=1) if port in reads else () for port in PORTS))


def _with_mergers(generator: Random, block: Block, most: int, wanted: bool) -> Block:
    """`block` with mergers drawn where it has what they read, the one to tokens up to `most` wide."""
    to_tokens = generator.randint(0, most) if wanted and block.dense else 0
    to_dense = wanted and bool(block.sparse) and generator.random() < 0.5
    width = block.dense_width or (generator.randint(1, 6) if to_dense else 0)
    return replace(block, dense_to_tokens=to_tokens, tokens_to_dense=to_dense, dense_width=width)


def random_member(generator: Random, hull: Architecture) -> Architecture:
    """A network within `hull`: fewer sources, modules and mergers, narrower streams, some blocks left empty."""
    member = replace(hull, blocks=(), head=(0,))
    for block in hull.blocks:
        modules = tuple(
            ModuleChoice(module.name, *(subset(generator, module.sources(port), least=1) for port in PORTS))
            for module in thinned_out(generator, block.modules)
        )
        narrow = Block(generator.randint(1, max(1, block.dense_width)), generator.randint(1, max(1, block.num_tokens)))
        kept = hearing(member, narrow, modules)
        merged = _with_mergers(generator, kept, block.dense_to_tokens, wanted=True)
        if merged.tokens_to_dense and not block.tokens_to_dense:
            merged = replace(merged, tokens_to_dense=False, dense_width=kept.dense_width)
        width = min(merged.dense_width, block.dense_width)
        member = replace(member, blocks=(*member.blocks, replace(merged, dense_width=width)))
    head = subset(generator, hull.head)
    speaks = any(member.width(source, "dense") or member.width(source, "sparse") for source in head)
    return replace(member, head=head if speaks or hull.linear_skip else (0,))


def hearing(earlier: Architecture, block: Block, modules: Iterable[ModuleChoice]) -> Block:
    """A block of the modules whose sources in `earlier` are not all silent, as wide as `block` where it makes anything."""
    kept = tuple(module for module in modules if any(earlier.joined_width(module, port) for port in PORTS))
    makes = {module.makes for module in kept}
    return Block(block.dense_width if "dense" in makes else 0, block.num_tokens if "sparse" in makes else 0, kept)


def random_space(generator: Random, dense: tuple[str, ...], sparse: tuple[str, ...], max_gates: int) -> SearchSpace:
    dense_names = subset(generator, generator.sample(dense, min(len(dense), 5)))
    sparse_names = subset(generator, generator.sample(sparse, min(len(sparse), 4)), least=0 if dense_names else 1)
    num_blocks = generator.randint(1, max(1, min(3, max_gates // len(dense_names + sparse_names))))
    sizes = [generator.randint(1, 5) for _ in range(5)]
    connect: Any = generator.choice(["all", "chain"])
    rules = SpaceRules(num_blocks, (2 * sizes[3],), (sizes[4],), dense_names, sparse_names, connect=connect)
    return SearchSpace(sizes[0], sizes[1], 2 * sizes[2], rules)


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Give every parameter, biases and scales among them, a random value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def inputs(network: Architecture | SearchSpace, rows: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random dense features `[rows, num_dense]` and embeddings `[rows, num_sparse, D]`."""
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(rows, network.num_dense, generator=generator, dtype=dtype)
    return dense, torch.randn(rows, network.num_sparse, network.embedding_dim, generator=generator, dtype=dtype)


def assert_equal_to_rounding(mine: Tensor, theirs: Tensor) -> None:
    """The same numbers in float64. Not bit for bit on every processor: a matrix product may sum strided weights in another order."""
    largest = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11 * max(1.0, largest))
