"""Every named space: how many members it has, and that drawing, changing and crossing them stays within it."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from recsys_nas.space import NAMED_SPACES, PORTS, Architecture, Block, ModuleChoice, SearchSpace, SpaceRules

SPACES = {name: SearchSpace(13, 26, 16, rules) for name, rules in NAMED_SPACES.items()}
TINY = SearchSpace(
    2,
    3,
    4,
    SpaceRules(
        2, (3, 5), (2,), ("linear", "sum"), ("embedded_fc",), pick="one", connect="any", max_sources=2, merger_tokens=1, head="last"
    ),
)
"""A space in the manner of NASRec, small enough to be listed."""


@pytest.mark.parametrize(("name", "power"), [("nasrec_small", 32.3), ("nasrec_full", 43.9)])
def test_the_nasrec_spaces_have_the_published_sizes(name: str, power: float) -> None:
    assert round(math.log10(SPACES[name].size()), 1) == power


def test_the_size_of_nasrec_full_is_the_product_of_its_choices() -> None:
    total = 1
    for number in range(1, 8):
        sets = sum(math.comb(number, count) for count in range(1, min(4, number) + 1))
        total *= sets**2 * number**2 * (4 * 2) * 8 * 4 * (2 * 2)
    assert SPACES["nasrec_full"].size() == total


def test_the_gated_spaces_have_a_member_for_every_subset_of_gates() -> None:
    for name in ("distdnas", "dhen"):
        assert SPACES[name].size() == 2 ** len(SPACES[name].gates) - 1


def test_widths_count_only_where_a_stream_has_modules() -> None:
    rules = SpaceRules(2, (3, 5), (2, 4, 6), ("linear", "fm"), ("embedded_fc",))
    assert rules.size() == ((1 + 3 * 2) * (1 + 1 * 3)) ** 2 - 1
    generator = random.Random(1)
    drawn = Counter(SearchSpace(2, 3, 4, replace(rules, num_blocks=1)).sample(generator) for _ in range(8000))
    # No width is ambiguous with one block, so members and networks are the same; chi-squared, 26 degrees of freedom, .999: 54.
    assert len(drawn) == 27
    assert sum((count - 8000 / 27) ** 2 / (8000 / 27) for count in drawn.values()) < 54


def listed() -> list[Architecture]:
    """Every combination of choices of `TINY`, written out here by hand."""
    sets = {1: [(0,)], 2: [(0,), (1,), (0, 1)]}
    blocks: dict[int, list[Block]] = {}
    for number in (1, 2):
        pairs = itertools.product(range(number), repeat=2)
        genes: list[Any] = [("linear", "sum"), (3, 5), sets[number], sets[number], list(pairs), (0, 1), (False, True)]
        blocks[number] = [
            Block(
                width,
                2,
                (
                    ModuleChoice("linear", dense) if name == "linear" else ModuleChoice("sum", (pair[0],), (), (pair[1],)),
                    ModuleChoice("embedded_fc", (), sparse),
                ),
                to_tokens,
                to_dense,
            )
            for name, width, dense, sparse, pair, to_tokens, to_dense in itertools.product(*genes)
        ]
    return [Architecture(2, 3, 4, pair, (2,)) for pair in itertools.product(blocks[1], blocks[2])]


def test_size_counts_every_combination_and_each_is_a_member() -> None:
    members = listed()
    assert len(members) == TINY.size()
    generator = random.Random(0)
    for member in generator.sample(members, 300):
        TINY.check(member)
    distinct = set(members)
    assert all(TINY.sample(generator) in distinct for _ in range(300))


def test_every_combination_is_drawn_equally_often() -> None:
    generator = random.Random(0)
    space = replace(TINY, rules=replace(TINY.rules, dense_widths=(3,), merger_tokens=0))
    draws = 20_000
    counts = Counter(space.sample(generator).blocks[1] for _ in range(draws))
    # The second block: 3 sparse sets, and 3 dense sets for linear or 4 pairs for sum, each half of the time.
    assert len(counts) == 3 * (3 + 4)
    expected = {"linear": draws / 2 / 9, "sum": draws / 2 / 12}
    # Chi-squared with 20 degrees of freedom: beyond 45 once in a thousand.
    assert sum((count - expected[block.dense[0]]) ** 2 / expected[block.dense[0]] for block, count in counts.items()) < 45


def changes(first: Architecture, second: Architecture) -> list[int]:
    return [number for number, pair in enumerate(zip(first.blocks, second.blocks, strict=True), start=1) if pair[0] != pair[1]]


@pytest.mark.parametrize("name", SPACES)
def test_samples_mutants_and_children_are_members_and_mutants_differ(name: str) -> None:
    space, generator = SPACES[name], random.Random(3)
    parent = space.sample(generator)
    mutated_blocks = set()
    for _ in range(300):
        other = space.sample(generator)
        mutant = space.mutate(parent, generator)
        child = space.crossover(mutant, other, generator)
        for member in (other, mutant, child):
            space.check(member)
        assert mutant.key() != parent.key()
        (changed,) = changes(parent, mutant)
        mutated_blocks.add(changed)
        assert all(block in pair for block, *pair in zip(child.blocks, mutant.blocks, other.blocks, strict=True))
        parent = child
    assert mutated_blocks == set(range(1, space.rules.num_blocks + 1))


@pytest.mark.parametrize("name", ["nasrec_small", "nasrec_full"])
def test_mutation_reaches_every_gene(name: str) -> None:
    space, generator = SPACES[name], random.Random(5)
    seen = set()
    for _ in range(400):
        parent = space.sample(generator)
        mutant = space.mutate(parent, generator)
        (number,) = changes(parent, mutant)
        before, after = parent.blocks[number - 1], mutant.blocks[number - 1]
        seen |= {
            field
            for field in ("dense_width", "num_tokens", "dense_to_tokens", "tokens_to_dense")
            if getattr(before, field) != getattr(after, field)
        }
        for stream in ("dense", "sparse"):
            if getattr(before, stream) != getattr(after, stream):
                seen.add(f"{stream} module")
            else:
                ports = [[module for module in block.modules if module.makes == stream] for block in (before, after)]
                seen |= {f"{stream} {port}" for port in PORTS if ports[0][0].sources(port) != ports[1][0].sources(port)}
    expected = {
        "dense_width",
        "num_tokens",
        "dense_to_tokens",
        "tokens_to_dense",
        "dense module",
        "dense dense",
        "dense sparse",
        "sparse sparse",
    }
    assert seen == expected | ({"sparse module", "dense right"} if name == "nasrec_full" else set())


def test_one_seed_gives_one_sequence() -> None:
    def sequence(seed: int) -> list[str]:
        generator, space = random.Random(seed), SPACES["nasrec_full"]
        first, second = space.sample(generator), space.sample(generator)
        return [member.key() for member in (first, second, space.mutate(first, generator), space.crossover(first, second, generator))]

    assert sequence(5) == sequence(5) != sequence(6)


def test_a_space_of_one_network_has_no_mutant() -> None:
    alone = SearchSpace(2, 3, 4, SpaceRules(1, (3,), (2,), ("linear",), ()))
    with pytest.raises(ValueError, match="no change of one choice gave a different network in 1000 tries"):
        alone.mutate(alone.sample(random.Random(0)), random.Random(0))


MEMBER = TINY.sample(random.Random(2))
FIRST, SECOND = MEMBER.blocks
LINEAR, FC = ModuleChoice("linear", (0,)), ModuleChoice("embedded_fc", (), (0,))


def with_second(**fields: Any) -> Architecture:
    return replace(MEMBER, blocks=(FIRST, replace(Block(3, 2, (LINEAR, FC)), **fields)))


OUTSIDE: dict[str, Architecture] = {
    "num_dense = 3: the space has 2; this architecture is for another schema": replace(MEMBER, num_dense=3),
    "num_sparse = 4: the space has 3": replace(MEMBER, num_sparse=4),
    "embedding_dim = 8: the space has 4": replace(MEMBER, embedding_dim=8),
    "stem = 'split': the space has 'flat'": replace(MEMBER, stem="split"),
    "normalisation = 'none': the space has 'rms'": replace(MEMBER, normalisation="none"),
    "linear_skip = False: the space has True": replace(MEMBER, linear_skip=False),
    "blocks: 1 of them, the space has 2": replace(MEMBER, blocks=(FIRST,), head=(1,)),
    r"head: reads \[1, 2\], in the space it reads \[2\]": replace(MEMBER, head=(1, 2)),
    r"blocks\[1\]: the space has no module 'cross' for the dense stream; it has linear, sum": with_second(
        modules=(ModuleChoice("cross", (0,)), FC)
    ),
    r"blocks\[1\]: 2 modules make the dense stream; the space picks one": with_second(
        modules=(LINEAR, ModuleChoice("sum", (0,), (), (1,)), FC)
    ),
    r"blocks\[1\]: 0 modules make the sparse stream; the space picks one": with_second(num_tokens=0, modules=(LINEAR,)),
    r"blocks\[1\]\.dense_width = 4: not in the space; it has 3, 5": with_second(dense_width=4),
    r"blocks\[1\]\.num_tokens = 7: not in the space; it has 2": with_second(num_tokens=7),
    r"blocks\[1\]\.dense_to_tokens = 3: in the space it is 0 or 1": with_second(dense_to_tokens=3),
    r"blocks\[1\]\.modules\[0\]\.right: reads 2 sources, in the space it reads 1$": with_second(
        modules=(ModuleChoice("sum", (0,), (), (0, 1)), FC)
    ),
}


@pytest.mark.parametrize("message", OUTSIDE)
def test_what_is_no_member_is_told_with_its_block(message: str) -> None:
    assert not TINY.contains(OUTSIDE[message])
    for refuse in (lambda: TINY.check(OUTSIDE[message]), lambda: TINY.mutate(OUTSIDE[message], random.Random(0))):
        with pytest.raises(ValueError, match=f"^{message}"):
            refuse()
    assert TINY.contains(with_second())


def test_sources_beyond_the_rules_are_told() -> None:
    chain, generator = SPACES["dhen"], random.Random(0)
    member = chain.full()
    chain.check(member)
    third = Block.reading((0, 1, 2), *(("linear",), 128))
    with pytest.raises(ValueError, match=r"blocks\[2\]\.modules\[0\]\.dense: reads \[0, 1, 2\], in the space it reads \[0, 2\]"):
        chain.check(replace(member, blocks=(*member.blocks[:2], third, member.blocks[3])))
    seven = SPACES["nasrec_small"]
    member = seven.sample(generator)
    wide = replace(member.blocks[6], modules=(ModuleChoice("linear", (0, 1, 2, 3, 4)), ModuleChoice("embedded_fc", (), (0,))))
    with pytest.raises(ValueError, match=r"blocks\[6\]\.modules\[0\]\.dense: reads 5 sources, in the space it reads 1 to 4"):
        seven.check(replace(member, blocks=(*member.blocks[:6], wide)))
    apart = replace(member.blocks[6], modules=(ModuleChoice("mixed_dot_product", (0,), (1,)), ModuleChoice("embedded_fc", (), (0,))))
    with pytest.raises(ValueError, match=r"blocks\[6\]\.modules: the space has one set of sparse sources a block"):
        seven.check(replace(member, blocks=(*member.blocks[:6], apart)))
    plain = replace(RULES_WITHOUT_MERGERS, num_blocks=1)
    merged = Block(3, 2, (LINEAR, FC), 0, True)
    with pytest.raises(ValueError, match=r"blocks\[0\]\.tokens_to_dense = True: the space has no mergers"):
        SearchSpace(2, 3, 4, plain).check(Architecture(2, 3, 4, (merged,), (1,)))


RULES_WITHOUT_MERGERS = SpaceRules(2, (3,), (2,), ("linear",), ("embedded_fc",))


def test_silent_sources_may_be_named_or_not() -> None:
    space = SearchSpace(2, 3, 4, RULES_WITHOUT_MERGERS)
    blocks = (Block.reading((0,), ("linear",), 3), Block.reading((0, 1), (), 0, ("embedded_fc",), 2))
    named = Architecture(2, 3, 4, blocks, (1, 2))
    space.check(named)
    space.check(named.live())
    assert named != named.live()
