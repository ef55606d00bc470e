"""Random controls: members of the space at the found network's cost, all different, the same from the same seed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recsys_nas.cost import dense_flops
from recsys_nas.search.controls import random_controls
from recsys_nas.space import NAMED_SPACES, Gate, SearchSpace

SPACE = SearchSpace(13, 26, 8, NAMED_SPACES["distdnas"])
FOUND = SPACE.architecture([Gate(1, "dot_product"), Gate(2, "linear")])


def test_controls_cost_what_the_found_network_costs_and_are_others() -> None:
    controls = random_controls(SPACE, FOUND, 10, seed=0)
    assert len({network.key() for network in (FOUND, *controls)}) == 11
    for network in controls:
        SPACE.check(network)
        assert abs(dense_flops(network) / dense_flops(FOUND) - 1) <= 0.1


def test_a_shorter_list_is_the_beginning_of_a_longer_one_and_seeds_differ() -> None:
    ten = random_controls(SPACE, FOUND, 10, seed=0)
    assert random_controls(SPACE, FOUND.canonical(), 4, seed=0) == ten[:4]
    assert random_controls(SPACE, FOUND, 10, seed=1) != ten


def test_one_asks_for_more_than_there_are() -> None:
    rules = replace(NAMED_SPACES["distdnas"], num_blocks=1, dense_modules=("linear",), sparse_modules=("embedded_fc",))
    small = SearchSpace(2, 3, 4, rules)
    with pytest.raises(ValueError, match=r"retrain.random_controls = 3: 0 networks of the space met within 10%.*; lower it"):
        random_controls(small, small.architecture([Gate(1, "linear")]), 3, seed=0)


def test_spaces_that_choose_widths_have_controls_too() -> None:
    space = SearchSpace(3, 4, 4, replace(NAMED_SPACES["nasrec_small"], num_blocks=3, dense_widths=(8, 16, 32), token_counts=(4, 8)))
    found = random_controls(space, space.full(), 0, seed=0)
    assert found == []
    member = next(iter(random_controls(space, _median(space), 3, seed=0)))
    space.check(member)


def _median(space: SearchSpace):  # type: ignore[no-untyped-def]
    import random

    return space.sample(random.Random(5))
