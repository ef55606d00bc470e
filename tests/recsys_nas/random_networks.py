"""Random supernets, members of them and search spaces, small enough to run by the hundred and as odd as the rules allow.

A strategy draws one number and derives the rest from it, which is some ten times faster than a draw for every choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from recsys_nas.space import CATALOGUE, Architecture, Block, Gate, SearchSpace, module_kind

DENSE_MODULES = tuple(name for name, kind in CATALOGUE.items() if kind.makes == "dense")
SPARSE_MODULES = tuple(name for name, kind in CATALOGUE.items() if kind.makes == "sparse")

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
    """A network, and the same at full widths with some modules taken out."""

    def make(generator: Random) -> tuple[Architecture, Architecture]:
        hull = random_hull(generator)
        thinned = replace(hull, blocks=(), head=(0,))
        for block in hull.blocks:
            kept = replace(block, dense=thinned_out(generator, block.dense), sparse=thinned_out(generator, block.sparse))
            thinned = replace(thinned, blocks=(*thinned.blocks, _hearing(thinned, kept)))
        return hull, replace(thinned, head=hull.head)

    return _drawn(make)


def spaces(
    dense: tuple[str, ...] = DENSE_MODULES, sparse: tuple[str, ...] = SPARSE_MODULES, max_gates: int = 12
) -> st.SearchStrategy[SearchSpace]:
    return _drawn(lambda generator: random_space(generator, dense, sparse, max_gates))


def spaces_and_gates() -> st.SearchStrategy[tuple[SearchSpace, tuple[Gate, ...]]]:
    """A space and some of its gates, at least one."""

    def make(generator: Random) -> tuple[SearchSpace, tuple[Gate, ...]]:
        space = random_space(generator, DENSE_MODULES, SPARSE_MODULES, max_gates=18)
        return space, subset(generator, space.gates, least=1)

    return _drawn(make)


def subset(generator: Random, of: Iterable[T], least: int = 0) -> tuple[T, ...]:
    """Some of them, rather more than fewer, in any order."""
    things = list(of)
    sizes = [generator.randint(min(least, len(things)), len(things)) for _ in range(3)]
    return tuple(generator.sample(things, max(sizes)))


def thinned_out(generator: Random, modules: tuple[str, ...]) -> tuple[str, ...]:
    """Some of a stream's modules, or none, so that later inputs move up."""
    return subset(generator, modules) if generator.random() < 0.75 else ()


def random_hull(generator: Random) -> Architecture:
    """1 to 4 blocks, both stems, with and without normalisation and linear skip; blocks may be empty or lead nowhere."""
    hull = Architecture(
        num_dense=generator.randint(1, 4),
        num_sparse=generator.randint(1, 5),
        embedding_dim=generator.randint(2, 4),
        blocks=(),
        head=(0,),
        stem=generator.choice(["flat", "split"]),
        normalise=generator.random() < 0.5,
        linear_skip=generator.random() < 0.5,
    )
    for number in range(1, generator.randint(1, 4) + 1):
        sources = subset(generator, range(number), least=1)
        largest = Block(sources, subset(generator, DENSE_MODULES), 6, subset(generator, SPARSE_MODULES), 5)
        hull = replace(hull, blocks=(*hull.blocks, _narrowed(generator, hull, largest)))
    head = subset(generator, range(len(hull.blocks) + 1))
    return replace(hull, head=head if hull.linear_skip else tuple({0, *head}))


def random_member(generator: Random, hull: Architecture) -> Architecture:
    """A network within `hull`: fewer sources and modules, narrower streams, some blocks left empty."""
    member = replace(hull, blocks=(), head=(0,))
    for block in hull.blocks:
        kept = replace(
            block,
            sources=subset(generator, block.sources, least=1),
            dense=thinned_out(generator, block.dense),
            sparse=thinned_out(generator, block.sparse),
        )
        member = replace(member, blocks=(*member.blocks, _narrowed(generator, member, kept)))
    head = subset(generator, hull.head)
    speaks = any(member.dense_width(source) or member.num_tokens(source) for source in head)
    return replace(member, head=head if speaks or hull.linear_skip else (0,))


def _narrowed(generator: Random, earlier: Architecture, block: Block) -> Block:
    """`block` at widths up to its own, without the modules that hear nothing."""
    block = _hearing(earlier, block)
    width = generator.randint(1, block.dense_width) if block.dense else 0
    return replace(block, dense_width=width, num_tokens=generator.randint(1, block.num_tokens) if block.sparse else 0)


def _hearing(earlier: Architecture, block: Block) -> Block:
    """`block` without the modules whose sources in `earlier` are silent."""
    heard = {"dense": any(map(earlier.dense_width, block.sources)), "sparse": any(map(earlier.num_tokens, block.sources))}

    def hearing(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if any(heard[stream] for stream in module_kind(name, "").reads))

    dense, sparse = hearing(block.dense), hearing(block.sparse)
    return Block(block.sources, dense, block.dense_width if dense else 0, sparse, block.num_tokens if sparse else 0)


def random_space(generator: Random, dense: tuple[str, ...], sparse: tuple[str, ...], max_gates: int) -> SearchSpace:
    dense_names = subset(generator, dense)
    sparse_names = subset(generator, sparse, least=0 if dense_names else 1)
    num_blocks = generator.randint(1, max(1, min(3, max_gates // len(dense_names + sparse_names))))
    sizes = [generator.randint(1, 5) for _ in range(5)]
    return SearchSpace(sizes[0], sizes[1], 2 * sizes[2], num_blocks, 2 * sizes[3], sizes[4], dense_names, sparse_names)


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
