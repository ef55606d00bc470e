"""Gates that leave and searches that settle: after long enough and not before, never all of them, the same after a resume."""

from __future__ import annotations

import pytest
import torch

from recsys_nas.search.decisions import DecisionRules, GateDecisions

RULES = DecisionRules(bound=0.1, leave_after=20, settle_after=30, tolerance=0.05)
LOW, HIGH = 0.05, 0.95


def looked(rounds: list[list[float]], rules: DecisionRules = RULES, num_real: int = 3) -> GateDecisions:
    """After a look at each of these probabilities, every 10 steps."""
    decisions = GateDecisions(len(rounds[0]), num_real, rules)
    for number, probabilities in enumerate(rounds, start=1):
        decisions.look(torch.tensor(probabilities), number * 10)
    return decisions


def test_a_gate_leaves_once_it_has_been_low_for_long_enough() -> None:
    rounds = [[LOW, HIGH, 0.5]] * 4
    assert looked(rounds[:2]).open.tolist() == [True, True, True]
    assert looked(rounds[:3]).open.tolist() == [False, True, True]
    assert looked(rounds).left_at.tolist() == [30, -1, -1]


def test_a_gate_that_comes_up_again_starts_anew() -> None:
    low, up = [LOW, HIGH, HIGH], [0.2, HIGH, HIGH]
    assert looked([low, low, up, low, low]).open.all()
    assert looked([low, low, up, low, low, low]).left_at.tolist() == [60, -1, -1]


def test_a_gate_that_has_left_stays_away() -> None:
    assert looked([[LOW, HIGH, HIGH]] * 3 + [[HIGH, HIGH, HIGH]] * 5).left_at.tolist() == [30, -1, -1]


def test_one_real_gate_always_stays_and_decoys_need_not() -> None:
    assert looked([[0.02, 0.04, 0.03, 0.01]] * 5).open.tolist() == [False, True, False, False]
    # The best of those still there, though one that has left came up since.
    later = [[0.02, LOW, HIGH, LOW]] * 3 + [[0.9, LOW, 0.01, LOW]] * 5
    assert looked(later).open.tolist() == [False, False, True, False]


@pytest.mark.parametrize("rules", [DecisionRules(), DecisionRules(bound=0.1), DecisionRules(bound=0.0, leave_after=20)])
def test_nothing_is_decided_where_no_rule_asks_for_it(rules: DecisionRules) -> None:
    decisions = looked([[0.01, HIGH, 0.01]] * 50, rules)
    assert decisions.open.all()
    assert not decisions.is_settled


def test_the_search_has_settled_when_no_gate_moves_and_none_is_undecided() -> None:
    rounds = [[0.3, HIGH, 0.7]] * 5
    assert not looked(rounds[:3]).is_settled
    assert int(looked(rounds).settled_at) == 40, "the first look takes the reference, and 30 steps follow"
    assert not looked([[0.45, HIGH, 0.7]] * 9).is_settled, "undecided"
    assert not looked([[0.3 - 0.02 * i, HIGH, 0.7] for i in range(8)]).is_settled, "it creeps"
    assert looked([[0.3 + 0.02 * (i % 2), HIGH, 0.7] for i in range(8)]).is_settled, "within the tolerance"


def test_a_move_starts_the_wait_anew() -> None:
    still, moved = [0.3, HIGH, 0.7], [0.3, HIGH, 0.8]
    assert int(looked([still] * 3 + [moved] * 4).settled_at) == 70


def test_gates_that_have_left_hold_nothing_up() -> None:
    rules = DecisionRules(bound=0.1, leave_after=10, settle_after=30, tolerance=0.05)
    rounds = [[LOW, HIGH, 0.7]] * 2 + [[0.01 if i % 2 else 0.09, HIGH, 0.7] for i in range(4)]
    assert looked(rounds, rules).is_settled


def test_what_is_remembered_goes_on_from_saved_buffers() -> None:
    rounds = [[LOW, HIGH, 0.7]] * 6
    half = looked(rounds[:2])
    resumed = GateDecisions(3, 3, RULES)
    resumed.load_state_dict(half.state_dict())
    for number in (3, 4, 5, 6):
        resumed.look(torch.tensor(rounds[0]), number * 10)
    whole = looked(rounds)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    assert whole.is_settled
    assert not whole.open.all()
