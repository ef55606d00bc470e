"""The verdict claims what the intervals carry, and says where found falls behind."""

from __future__ import annotations

from typing import Any

from recsys_nas.report.results import write_results
from recsys_nas.report.verdict import Verdict, judge
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import MODELS


def judged(make_run: MakeRun, **choices: Any) -> Verdict:
    return judge(write_results(make_run(**choices)))


def test_a_win_names_the_best_other_and_the_share_of_its_cost(make_run: MakeRun) -> None:
    models = MODELS | {"found": (0.7750, 0.4770, 61_440, 31_105)}
    verdict = judged(make_run, models=models, spread=0.0001)
    assert verdict.outcome == "wins"
    assert verdict.headline == "found beats full_supernet, the best of the other models, at 15 % of its dense FLOPs."
    assert "also beats dcnv2" in verdict.detail


def test_a_tie_says_that_the_interval_holds_nought(make_run: MakeRun) -> None:
    models = {"found": (0.7712, 0.48, 61_440, 31_105), "dlrm": (0.7712, 0.48, 498_176, 250_113)}
    verdict = judged(make_run, models=models, spread=0.002)
    assert verdict.outcome == "ties"
    assert "is not told apart from dlrm" in verdict.headline
    assert "an interval that holds 0" in verdict.detail
    assert "beats" not in verdict.sentence


def test_a_loss_is_called_a_loss_in_auc_and_log_loss(make_run: MakeRun) -> None:
    models = MODELS | {"found": (0.7600, 0.4900, 61_440, 31_105)}
    verdict = judged(make_run, models=models, spread=0.0001)
    assert verdict.outcome == "loses"
    assert "loses to full_supernet" in verdict.headline
    assert "In AUC it also loses to dcnv2 (\N{MINUS SIGN}" in verdict.shortfalls
    assert "In log loss it loses to full_supernet, dcnv2, dlrm and mlp." in verdict.shortfalls
    assert "better" not in verdict.shortfalls


def test_cheaper_models_are_named_with_what_they_cost_in_auc(make_run: MakeRun) -> None:
    models = {"found": (0.7712, 0.48, 400_000, 1), "mlp": (0.7600, 0.49, 100_000, 1), "dlrm": (0.7650, 0.485, 400_000, 1)}
    verdict = judged(make_run, models=models, spread=0.0001)
    assert "at the same dense FLOPs" in verdict.headline
    assert "Cheaper than found, at a lower AUC: mlp (25 % of its dense FLOPs, AUC \N{MINUS SIGN}0.011" in verdict.shortfalls


def test_dearer_networks_are_said_to_be_dearer(make_run: MakeRun) -> None:
    models = {"found": (0.7712, 0.48, 1_000_000, 1), "mlp": (0.7600, 0.49, 100_000, 1)}
    assert "at 10 times its dense FLOPs" in judged(make_run, models=models, spread=0.0001).headline


def test_one_seed_makes_no_claim(make_run: MakeRun) -> None:
    verdict = judged(make_run, models=MODELS | {"found": (0.79, 0.46, 61_440, 1)}, seeds=(0,))
    assert verdict.outcome == "one seed"
    assert "nobody can tell" in verdict.headline
    assert not any(word in verdict.detail + verdict.shortfalls for word in ("beats", "loses", "better"))


def test_found_alone_is_compared_with_nothing(make_run: MakeRun) -> None:
    verdict = judged(make_run, models={"found": MODELS["found"]})
    assert verdict.outcome == "alone"
    assert "nothing to compare" in verdict.sentence
