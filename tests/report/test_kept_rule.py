"""The report names the rule by which modules were kept, and the border that it looks for close calls at."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_nas.report.kept_rule import border, kept_when

GATES = [{"probability": p, "kept": p > 0.35} for p in (0.9, 0.4, 0.3, 0.1)]
PLAIN: dict[str, Any] = {"threshold": 0.5, "cut": 0.5, "method": "mean", "discretise": "threshold", "gates": GATES}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "its mean probability is above 0.5"),
        ({"threshold": 0.6, "cut": 0.6, "method": "recency"}, "its mean probability, late days counting more, is above 0.6"),
        ({"method": "majority", "threshold": 0.7}, "the share of days that would keep it is above 0.5"),
        ({"method": "logit_mean", "discretise": "top_k"}, "the probability of its mean logit is among the 2 highest"),
        ({"discretise": "top_k", "gates": GATES[:1] + GATES[2:]}, "its mean probability is the highest"),
        ({"target_flops": 60_000}, "its mean probability is above 0.5, and it fits 60,000 dense FLOPs beside better ones"),
        ({"discretise": "budget", "target_flops": 60_000}, "it fits 60,000 dense FLOPs beside better ones"),
        (
            {"kept_for_want_of_better": True},
            "its mean probability is above 0.5; here none is, and the best that cost no more than all are expected to are kept",
        ),
        ({"strategy": "evolution"}, "the network chosen in the end has it"),
    ],
)
def test_each_rule_has_its_words(changes: dict[str, Any], said: str) -> None:
    assert kept_when(PLAIN | changes) == said


def test_the_border_is_the_threshold_or_lies_between_kept_and_dropped() -> None:
    assert border(PLAIN) == (0.5, "the threshold 0.5")
    middle, name = border(PLAIN | {"discretise": "top_k"})
    assert middle == pytest.approx(0.35)
    assert name == "the border between kept and dropped, 0.35"
    assert border(PLAIN | {"discretise": "top_k", "gates": GATES[:2]})[0] == 0.5


def test_the_border_of_a_budget_lies_below_the_last_kept_whatever_was_passed_over_for_its_price() -> None:
    gates = [{"probability": p, "kept": p in (0.9, 0.2)} for p in (0.9, 0.4, 0.2, 0.1)]
    assert border(PLAIN | {"discretise": "budget", "gates": gates})[0] == pytest.approx(0.15)
