"""Scores of gates over days, and the rules that turn scores into a network: never empty, never above a budget."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys_nas.config import ConfigError
from recsys_nas.cost import dense_flops
from recsys_nas.search.discretise import Discretisation, discretisation, scores
from recsys_nas.search_config import SearchConfig
from recsys_nas.space import Gate, SearchSpace, SpaceRules

SPACE = SearchSpace(2, 3, 4, SpaceRules(2, (8,), (5,), ("linear", "fm"), ("embedded_fc",)))
BY_DAY = np.array([[0.9, 0.2, 0.6], [0.8, 0.4, 0.2], [0.1, 0.6, 0.9]])
DAYS = [0, 1, 3]
GATES = (Gate(1, "linear"), Gate(1, "fm"), Gate(1, "cross"))
PRICES = dict(zip(GATES, (100, 30, 60), strict=True))


def rule(**settings: object) -> Discretisation:
    def price(kept: Iterable[Gate]) -> int:
        return 10 + sum(PRICES[gate] for gate in kept)

    def expected(probabilities: NDArray[np.float64]) -> float:
        return 10 + float(probabilities @ np.array(list(PRICES.values())))

    return Discretisation(GATES, SearchConfig(**settings), price, expected)  # type: ignore[arg-type]


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean", [0.6, 0.4, 1.7 / 3]),
        ("logit_mean", [1 / (1 + np.exp(-(logit(a) + logit(b) + logit(c)) / 3)) for a, b, c in BY_DAY.T]),
        ("majority", [2 / 3, 1 / 3, 2 / 3]),
        # Days 0, 1 and 3 with a half-life of 2: weights 2^-1.5, 2^-1 and 1.
        ("recency", [(2**-1.5 * a + 0.5 * b + c) / (2**-1.5 + 1.5) for a, b, c in BY_DAY.T]),
    ],
)
def test_scores_by_hand(method: str, expected: list[float]) -> None:
    search = SearchConfig(aggregation=method, recency_half_life=2.0)  # type: ignore[arg-type]
    assert scores(BY_DAY, DAYS, search) == pytest.approx(expected)


@pytest.mark.parametrize("method", ["mean", "logit_mean", "recency"])
def test_one_day_scores_its_own_probabilities(method: str) -> None:
    search = SearchConfig(aggregation=method)  # type: ignore[arg-type]
    assert scores(BY_DAY[:1], [7], search) == pytest.approx(BY_DAY[0])


def test_certain_gates_have_logits_too() -> None:
    told = scores(np.array([[0.0, 1.0], [0.0, 1.0]]), [0, 1], SearchConfig(aggregation="logit_mean"))
    assert told == pytest.approx([0, 1], abs=1e-5)


def test_the_threshold_keeps_what_is_above_and_at_least_the_best() -> None:
    assert rule().keep(BY_DAY, DAYS).tolist() == [True, False, True]
    assert rule(threshold=0.58).keep(BY_DAY, DAYS).tolist() == [True, False, False]
    assert rule(threshold=0.9).keep(BY_DAY, DAYS).tolist() == [True, False, False]


def test_with_nothing_above_the_cut_the_best_are_kept_up_to_the_flops_that_the_gates_expect() -> None:
    by_hand = [
        # Expected: 10 + 40 + 13.5 + 12 = 75.5. The best costs 10 + 30; with the next, of 100, it would be 140, and there it ends.
        ([0.4, 0.45, 0.2], [False, True, False]),
        # 10 + 16 + 12 + 27 = 65, which is less than the best one costs.
        ([0.16, 0.4, 0.45], [False, False, True]),
        # 85 and 100, where the best two cost 10 + 30 + 60.
        ([0.3, 0.5, 0.5], [False, True, False]),
        ([0.45, 0.5, 0.5], [False, True, True]),
    ]
    for probabilities, kept in by_hand:
        assert rule().keep(np.array([probabilities]), [0]).tolist() == kept


def test_a_majority_needs_more_than_half_of_the_days_whatever_the_threshold() -> None:
    by_day = np.array([[0.8, 0.65, 0.9], [0.75, 0.65, 0.1]])
    assert rule(aggregation="majority", threshold=0.7).keep(by_day, [0, 1]).tolist() == [True, False, False]


def test_of_equal_votes_the_more_probable_comes_first() -> None:
    by_day = np.array([[0.6, 0.9, 0.7]])
    assert rule(aggregation="majority", discretise="top_k", top_k=1).keep(by_day, [0]).tolist() == [False, True, False]


def test_top_k_keeps_to_a_target() -> None:
    """The best costs 110, the second 70, the third 40."""
    assert rule(discretise="top_k", top_k=2, target_flops=105).keep(BY_DAY, DAYS).tolist() == [False, True, True]
    assert rule(discretise="top_k", top_k=1, target_flops=105).keep(BY_DAY, DAYS).tolist() == [False, False, True]
    assert rule(discretise="top_k", top_k=2, target_flops=50).keep(BY_DAY, DAYS).tolist() == [False, True, False]


def test_top_k_keeps_so_many_and_all_where_there_are_fewer() -> None:
    assert rule(discretise="top_k", top_k=2).keep(BY_DAY, DAYS).tolist() == [True, False, True]
    assert rule(discretise="top_k", top_k=9).keep(BY_DAY, DAYS).tolist() == [True, True, True]


def test_a_target_is_not_passed_by_what_is_above_the_threshold() -> None:
    by_day = np.array([[0.9, 0.6, 0.8]])

    def kept(target: int, threshold: float = 0.5) -> list[bool]:
        return rule(target_flops=target, threshold=threshold).keep(by_day, [0]).tolist()

    assert kept(200) == [True, True, True]
    assert kept(170) == [True, False, True]
    assert kept(140) == [True, True, False], "what does not fit is passed over"
    assert kept(99) == [False, False, True]
    assert kept(200, threshold=0.85) == [True, False, False], "what is below the threshold stays out, fit or not"
    assert kept(80, threshold=0.85) == [False, False, True], "nothing above it fits, and a network cannot be empty"


def test_a_budget_is_filled_from_the_best_down_whatever_the_threshold() -> None:
    def kept(budget: int) -> list[bool]:
        return rule(discretise="budget", target_flops=budget).keep(np.array([[0.4, 0.2, 0.3]]), [0]).tolist()

    assert kept(200) == [True, True, True]
    assert kept(170) == [True, False, True]
    assert kept(140) == [True, True, False], "what does not fit is passed over"
    assert kept(99) == [False, False, True]


def test_a_target_with_nothing_above_the_cut_takes_what_the_gates_expect_if_that_fits() -> None:
    """Expected are 10 + 45 + 15 + 30 = 100, which the two best cost."""

    def kept(target: int) -> list[bool]:
        return rule(target_flops=target).keep(np.array([[0.45, 0.5, 0.5]]), [0]).tolist()

    assert kept(200) == [False, True, True]
    assert kept(99) == [False, True, False]


@pytest.mark.parametrize("discretise", ["threshold", "budget"])
def test_a_target_that_nothing_fits_says_what_the_cheapest_costs(discretise: str) -> None:
    with pytest.raises(ConfigError, match=r"search.target_flops = 20: the cheapest network, 1/fm alone, needs 40"):
        rule(discretise=discretise, target_flops=20).keep(BY_DAY, DAYS)


def test_a_budget_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match=r"search\.target_flops; set it"):
        SearchConfig(discretise="budget")


RULES = st.builds(
    SearchConfig,
    aggregation=st.sampled_from(["mean", "logit_mean", "majority", "recency"]),
    discretise=st.sampled_from(["threshold", "top_k", "budget"]),
    threshold=st.floats(0.05, 0.95),
    top_k=st.integers(1, 8),
    target_flops=st.integers(300, 3000),
)


@settings(max_examples=100, deadline=None)
@given(search=RULES, by_day=st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=1, max_size=4))
def test_no_rule_empties_the_network_or_breaks_the_budget(search: SearchConfig, by_day: list[list[float]]) -> None:
    told, values, days = discretisation(SPACE, search), np.array(by_day), list(range(len(by_day)))
    kept = told.keep(values, days)
    assert kept.any()
    architecture = SPACE.architecture(gate for gate, is_kept in zip(SPACE.gates, kept, strict=True) if is_kept)
    assert dense_flops(architecture) <= search.target_flops
    if search.discretise == "top_k":
        assert kept.sum() <= search.top_k


@pytest.mark.parametrize(
    ("settings_", "decoy", "survives"),
    [
        ({}, 0.51, True),
        ({}, 0.49, False),
        ({"threshold": 0.9}, 0.89, False),  # the best real gate, at .6, is kept for want of a better one
        ({"discretise": "top_k", "top_k": 2}, 0.55, False),
        ({"discretise": "top_k", "top_k": 2}, 0.57, True),
        ({"discretise": "top_k", "top_k": 3}, 0.45, True),
        ({"target_flops": 100}, 0.51, True),
        ({"discretise": "budget", "target_flops": 200}, 0.41, True),  # the last real gate that is kept is at .4
        ({"discretise": "budget", "target_flops": 200}, 0.39, False),
        ({"aggregation": "majority"}, 0.51, True),
    ],
)
def test_a_decoy_survives_that_would_have_been_kept(settings_: dict[str, object], decoy: float, survives: bool) -> None:
    decoys = np.full((3, 1), decoy)
    assert rule(**settings_).survives(decoys, BY_DAY, DAYS).tolist() == [survives]
