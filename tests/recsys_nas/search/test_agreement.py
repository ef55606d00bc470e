"""How far days agree, whether gates drift, and what fewer days would have given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau  # type: ignore[import-untyped]

from recsys_nas.search.agreement import Drift, agreement, drift, growth, jaccard, kendall_tau, without_each
from recsys_nas.space import Gate

GATES = tuple(Gate(1, name) for name in ("linear", "fm", "cross", "dot_product"))
UP, DOWN = [0.1, 0.4, 0.6, 0.9], [0.9, 0.6, 0.4, 0.1]


def above_half(by_day: NDArray[np.float64], days: object) -> NDArray[np.bool_]:
    """The mean against one half; the best gate where none is above."""
    mean = by_day.mean(axis=0)
    kept = np.asarray(mean > 0.5)
    kept[mean.argmax()] = True
    return kept


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_kendall_tau_equals_scipys_with_and_without_ties(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=float).T
    expected = kendalltau(first, second).statistic
    told = kendall_tau(first, second)
    assert math.isnan(told) if math.isnan(expected) else told == pytest.approx(expected, abs=1e-12)


def test_kendall_tau_by_hand() -> None:
    assert kendall_tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(1 / 3)
    assert math.isnan(kendall_tau(np.array([0.5, 0.5]), np.array([0.1, 0.9])))
    assert math.isnan(kendall_tau(np.array([0.5]), np.array([0.5])))


def test_jaccard_by_hand() -> None:
    assert jaccard(np.array([True, True, False]), np.array([False, True, True])) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("days", "tau", "overlap"),
    [
        ([UP, UP, UP], 1.0, 1.0),
        ([UP, DOWN], -1.0, 0.0),
        ([UP, UP, DOWN], -1 / 3, 1 / 3),
        ([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.1, 0.2]], 2 / 3, 2 / 3),
        # Below one half a day still keeps its best gate.
        ([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]], 1.0, 1.0),
        ([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], -1.0, 0.0),
        # A day that ranks nothing is left out of the mean; where no pair is left, there is no tau.
        ([UP, UP, [0.5, 0.5, 0.5, 0.5]], 1.0, 1 / 3),
        ([UP, [0.5, 0.5, 0.5, 0.5]], None, 0.0),
    ],
)
def test_agreement_between_days(days: list[list[float]], tau: float | None, overlap: float) -> None:
    told = agreement(np.array(days), range(len(days)), above_half)
    assert told is not None
    assert told["kendall_tau"] == (None if tau is None else pytest.approx(tau))
    assert told["jaccard"] == pytest.approx(overlap)


def test_one_day_agrees_with_nothing() -> None:
    assert agreement(np.array([UP]), [0], above_half) is None


def test_the_trend_is_the_slope_over_days_that_need_not_follow_each_other() -> None:
    days = [0, 1, 3, 7, 8]
    told = drift(np.array([[0.1 * day, 0.5, 0.9 - 0.05 * day] for day in days]), days)
    assert told is not None
    assert [trend.per_day for trend in told] == pytest.approx([0.1, 0, -0.05])
    # Of 120 orders of 5 days, 2 are as clear as a straight rise; of equal values every order is as clear.
    assert [trend.p_value for trend in told] == pytest.approx([2 / 120, 1, 2 / 120])


@pytest.mark.parametrize("count", [5, 6, 7])
def test_the_p_value_equals_scipys_exact_one(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        values, days = rng.permutation(count).astype(float), list(range(count))
        told = drift(values[:, None], days)
        assert told is not None
        assert told[0].p_value == pytest.approx(kendalltau(days, values, method="exact").pvalue)


def test_four_days_tell_no_trend() -> None:
    """Not even a straight rise could be told from chance."""
    assert drift(np.array([UP, UP, DOWN, DOWN]), [0, 1, 2, 3]) is None


def test_a_warning_needs_a_clear_trend_that_moves_the_gate() -> None:
    assert Drift(per_day=0.05, p_value=0.01).is_warning(span=5)
    assert Drift(per_day=-0.05, p_value=0.01).is_warning(span=5)
    assert not Drift(per_day=0.05, p_value=0.01).is_warning(span=3)
    assert not Drift(per_day=0.05, p_value=0.06).is_warning(span=5)


def test_growth_tells_what_the_first_1_2_4_and_all_days_keep() -> None:
    days = [UP, DOWN, DOWN, DOWN, DOWN]
    told = growth(np.array(days), [2, 3, 4, 5, 6], GATES, above_half)
    assert [step["days"] for step in told] == [[2], [2, 3], [2, 3, 4, 5], [2, 3, 4, 5, 6]]
    assert told[0]["kept"] == ["1/cross", "1/dot_product"]
    assert told[-1]["kept"] == ["1/linear", "1/fm"]
    assert [step["jaccard_to_all"] for step in told] == pytest.approx([0, 0.5, 1, 1])
    assert [step["days"] for step in growth(np.array(days[:4]), [0, 1, 2, 3], GATES, above_half)] == [[0], [0, 1], [0, 1, 2, 3]]
    assert len(growth(np.array([UP]), [0], GATES, above_half)) == 1


def test_each_day_missing_tells_what_would_change() -> None:
    by_day = np.array([[0.9, 0.1, 0.6, 0.1], [0.9, 0.1, 0.6, 0.1], [0.9, 0.7, 0.2, 0.1]])
    told = without_each(by_day, [0, 1, 4], GATES, above_half)
    # With all of them the mean of cross is .467: without the last day it is .6.
    assert [(change["day"], change["added"], change["removed"]) for change in told] == [(0, [], []), (1, [], []), (4, ["1/cross"], [])]
    assert told[2]["jaccard_to_all"] == pytest.approx(0.5)
    assert without_each(by_day[:1], [0], GATES, above_half) == []
