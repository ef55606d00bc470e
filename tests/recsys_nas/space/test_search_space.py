"""The space as choices: the order of its gates, how many members it has, and that sampling stays in it."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings

from recsys_nas.config import SpaceConfig
from recsys_nas.space import NAMED_SPACES, Architecture, Block, Gate, SearchSpace, SpaceRules, space_from_config
from tests.recsys_nas.random_networks import spaces_and_gates

SMALL = SearchSpace(2, 3, 4, SpaceRules(2, (8,), (5,), ("fm", "linear"), ("embedded_fc",)))
GATES = tuple(Gate(block, module) for block in (1, 2) for module in ("fm", "linear", "embedded_fc"))


def test_gates_go_block_by_block_in_the_order_of_the_config() -> None:
    assert SMALL.gates == GATES
    assert str(GATES[1]) == "1/linear"


def test_a_member_keeps_its_gates_and_reads_everything_before_it() -> None:
    member = SMALL.architecture([GATES[5], GATES[1], GATES[0]])
    blocks = (Block.reading((0,), ("fm", "linear"), 8), Block.reading((0, 1), sparse=("embedded_fc",), num_tokens=5))
    assert member == Architecture(2, 3, 4, blocks, (1, 2), stem="flat", normalisation="rms", linear_skip=True)


def test_size_is_the_number_of_distinct_members() -> None:
    subsets = itertools.chain.from_iterable(itertools.combinations(GATES, count) for count in range(1, 7))
    assert len({SMALL.architecture(kept) for kept in subsets}) == SMALL.size() == 63


def test_members_that_differ_only_in_an_empty_block_are_the_same_network() -> None:
    space = SearchSpace(2, 3, 4, SpaceRules(2, (8,), (5,), ("linear",), ()))
    first, second, both = (space.architecture(kept).key() for kept in ([Gate(1, "linear")], [Gate(2, "linear")], space.gates))
    assert first == second != both


@settings(max_examples=100, deadline=None)
@given(choice=spaces_and_gates())
def test_kept_gates_is_the_inverse_of_architecture(choice: tuple[SearchSpace, tuple[Gate, ...]]) -> None:
    space, kept = choice
    member = space.architecture(kept)
    assert set(space.kept_gates(member)) == set(kept)
    assert space.kept_gates(member) == tuple(gate for gate in space.gates if gate in kept)
    assert space.kept_gates(space.full()) == space.gates


def test_samples_are_members_drawn_evenly() -> None:
    generator = random.Random(0)
    draws = 6300
    counts = Counter(SMALL.sample(generator) for _ in range(draws))
    assert len(counts) == SMALL.size()
    # Chi-squared with 62 degrees of freedom: beyond 103 once in a thousand.
    expected = draws / SMALL.size()
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 103


def test_one_seed_gives_one_sequence_of_samples() -> None:
    first, second, other = (random.Random(seed) for seed in (5, 5, 6))
    sequence = [SMALL.sample(first) for _ in range(10)]
    assert sequence == [SMALL.sample(second) for _ in range(10)]
    assert sequence != [SMALL.sample(other) for _ in range(10)]


def test_a_choice_outside_the_space_is_refused() -> None:
    with pytest.raises(ValueError, match="gate 3/fm is not in this space"):
        SMALL.architecture([Gate(1, "fm"), Gate(3, "fm")])
    with pytest.raises(ValueError, match="at least one module"):
        SMALL.architecture([])


@pytest.mark.parametrize(
    ("dense", "sparse", "message"),
    [
        (("crosss",), (), r"space\.dense_modules: no module is named 'crosss'; did you mean 'cross'\? known: attention_pooling, "),
        ((), ("zzz",), r"space\.sparse_modules: no module is named 'zzz'; known: attention_pooling, "),
        (("embedded_fc",), (), r"'embedded_fc' makes the sparse stream; move it to space\.sparse_modules"),
        ((), ("fm",), r"'fm' makes the dense stream; move it to space\.dense_modules"),
        (("fm", "linear", "fm"), (), "a module is named twice"),
        ((), (), "no modules are listed"),
    ],
)
def test_a_space_that_cannot_be_is_refused(dense: tuple[str, ...], sparse: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace(2, 3, 4, SpaceRules(2, (8,), (5,), dense, sparse))


RULES = SpaceRules(2, (8,), (5,), ("fm", "linear"), ("embedded_fc",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense_widths": ()}, r"space\.dense_widths = \[\]: must name at least one width"),
        ({"token_counts": (4, 0)}, r"space\.token_counts = \[4, 0\]: "),
        ({"dense_widths": (4, 4)}, r"space\.dense_widths = \[4, 4\]: "),
        ({"num_blocks": 0}, r"space\.num_blocks = 0: must be at least 1"),
        ({"max_sources": 0}, r"space\.max_sources = 0: must be at least 1"),
        ({"merger_tokens": -1}, r"space\.merger_tokens = -1: must be at least 0"),
        ({"connect": "any"}, r"space\.connect = 'any': goes with pick = 'one' only"),
        ({"merger_tokens": 8}, r"space\.merger_tokens = 8: goes with pick = 'one' only"),
        ({"head": "last"}, r"space\.head = 'last': goes with pick = 'one' only"),
        ({"pick": "one", "sparse_modules": ()}, r"space\.pick = 'one': needs at least one module in dense_modules and one in"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RULES, **change)


def test_a_split_stem_needs_numeric_features() -> None:
    with pytest.raises(ValueError, match=r"space\.stem = 'split': the data has no numeric features"):
        SearchSpace(0, 3, 4, replace(RULES, stem="split"))
    SearchSpace(0, 3, 4, RULES)


def test_a_space_without_gates_says_so() -> None:
    for rules in (NAMED_SPACES["nasrec_small"], replace(RULES, dense_widths=(8, 4))):
        with pytest.raises(ValueError, match="a differentiable search needs a gate a module, so pick = 'any', one dense width"):
            SearchSpace(2, 3, 4, rules).gates  # noqa: B018


def test_the_space_of_a_config_takes_every_setting() -> None:
    config = SpaceConfig(
        num_blocks=2, dense_widths=(8,), token_counts=(5,), dense_modules=("fm", "linear"), sparse_modules=("embedded_fc",)
    )
    assert space_from_config(config, num_dense=2, num_sparse=3, embedding_dim=4) == SMALL
    assert [field.name for field in fields(SpaceConfig)] == ["name", *(field.name for field in fields(SpaceRules))]


@pytest.mark.parametrize("name", NAMED_SPACES)
def test_a_named_space_keeps_its_rules_but_for_those_that_are_set(name: Any) -> None:
    assert SpaceConfig(name).rules == NAMED_SPACES[name]
    assert SpaceConfig(name, dense_widths=(4, 8)).rules == replace(NAMED_SPACES[name], dense_widths=(4, 8))
    assert SpaceConfig(name, linear_skip=not NAMED_SPACES[name].linear_skip).rules.linear_skip is not NAMED_SPACES[name].linear_skip
