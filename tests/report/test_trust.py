"""Evidence is marked by what its figures say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys_nas.report.page import write_report
from recsys_nas.report.records import read_run
from recsys_nas.report.results import write_results
from recsys_nas.report.trust import Check, checks, limits
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import add_controls, write


def checked(run: Path) -> dict[str, Check]:
    write_results(run)
    return {check.title: check for check in checks(read_run(run))}


def change_alphas(run: Path, **changes: Any) -> None:
    alphas = json.loads((run / "alphas.json").read_text())
    write(run / "alphas.json", alphas | changes)


@pytest.mark.parametrize(("seeds", "state"), [((0,), "caution"), ((0, 1), "caution"), ((0, 1, 2), "good")])
def test_few_seeds_call_for_caution(make_run: MakeRun, seeds: tuple[int, ...], state: str) -> None:
    assert checked(make_run(seeds=seeds))["Seeds"].state == state


def test_a_network_that_was_edited_by_hand_is_not_passed_off_as_what_the_search_derived(make_run: MakeRun) -> None:
    run = make_run()
    assert "Edited by hand" not in checked(run)
    write_report(run)
    assert "edited by hand" not in (run / "report.md").read_text()
    path = run / "architecture.json"
    edited = json.loads(path.read_text())
    path.write_text(json.dumps(edited | {"linear_skip": not edited["linear_skip"]}))
    assert checked(run)["Edited by hand"].state == "caution"
    write_report(run)
    for name in ("report.md", "report.html"):
        assert "is the network that the search derived, edited by hand since." in (run / name).read_text()


def test_where_all_gates_are_undecided_that_is_said(make_run: MakeRun) -> None:
    run = make_run()
    change_alphas(run, undecided_share=1.0)
    assert checked(run)["Gates"].text.startswith("All of the gates are undecided")


def test_days_that_disagree_call_for_caution(make_run: MakeRun) -> None:
    run = make_run()
    assert checked(run)["Days"].state == "good"
    change_alphas(run, agreement={"kendall_tau": 0.9, "jaccard": 0.3})
    assert checked(run)["Days"].state == "caution"
    assert "is 0.90" in checked(run)["Days"].text
    assert "keep is 0.30" in checked(run)["Days"].text


def test_days_that_rank_nothing_are_no_single_day(make_run: MakeRun) -> None:
    run = make_run()
    change_alphas(run, agreement={"kendall_tau": None, "jaccard": 1.0})
    assert checked(run)["Days"].text.startswith("No two days rank gates in a way to compare, the Jaccard")
    write_report(run)
    assert "Jaccard 1.00" in (run / "report.html").read_text()


def test_a_gate_near_the_threshold_is_named(make_run: MakeRun) -> None:
    run = make_run()
    gates = json.loads((run / "alphas.json").read_text())["gates"]
    apart = [gate | {"probability": 0.9, "std": 0.1} for gate in gates]
    change_alphas(run, gates=apart, undecided_share=0.0)
    assert checked(run)["Gates"].state == "good"
    apart[3] = apart[3] | {"probability": 0.58}
    change_alphas(run, gates=apart)
    assert checked(run)["Gates"].state == "caution"
    assert "fm in block 1 (0.58 ± 0.10)" in checked(run)["Gates"].text


def test_with_the_best_few_kept_the_border_lies_below_the_last_of_them(make_run: MakeRun) -> None:
    run = make_run()
    gates = json.loads((run / "alphas.json").read_text())["gates"]
    apart = [gate | {"probability": 0.4 if gate["kept"] else 0.2, "std": 0.05} for gate in gates]
    change_alphas(run, gates=apart, discretise="top_k", undecided_share=0.0)
    assert "farther from the border between kept and dropped, 0.30 than" in checked(run)["Gates"].text
    assert checked(run)["Gates"].state == "good"


def test_a_search_that_kept_nothing_on_its_merits_is_told(make_run: MakeRun) -> None:
    run = make_run()
    assert "Nothing found" not in checked(run)
    change_alphas(run, kept_for_want_of_better=True, cut=0.5)
    assert checked(run)["Nothing found"].state == "caution"
    assert "no module is above 0.5" in checked(run)["Nothing found"].text


def test_an_auc_above_the_bayes_optimal_is_suspect(make_run: MakeRun) -> None:
    above = checked(make_run(models={"found": (0.80, 0.45, 1000, 1000)}))["Ceiling"]
    assert above.state == "caution"
    assert "leaked" in above.text


def test_synthetic_logs_are_called_synthetic(make_run: MakeRun) -> None:
    run = make_run()
    write_results(run)
    assert any("synthetic" in line for line in limits(read_run(run)))
    run = make_run(truth=False)
    write_results(run)
    assert not any("synthetic" in line for line in limits(read_run(run)))


def test_a_decoy_that_survived_is_told(make_run: MakeRun) -> None:
    run = make_run()
    assert "Decoys" not in checked(run)
    decoys = [{"block": block, "module": "cross", "probability": 0.1 * block, "survived": False} for block in (1, 2)]
    change_alphas(run, decoys=decoys)
    assert checked(run)["Decoys"].state == "good"
    assert "highest p is 0.20" in checked(run)["Decoys"].text
    change_alphas(run, decoys=[decoys[0], decoys[1] | {"probability": 0.7, "survived": True}])
    assert checked(run)["Decoys"].state == "caution"
    assert "cross in block 2 (0.70)" in checked(run)["Decoys"].text


def test_drifting_gates_are_named(make_run: MakeRun) -> None:
    run = make_run()
    assert "Drift" not in checked(run)
    gates = json.loads((run / "alphas.json").read_text())["gates"]
    change_alphas(run, gates=[gate | {"drift_per_day": 0.0, "drift_p": 0.8} for gate in gates], drifting=[])
    assert checked(run)["Drift"].state == "good"
    change_alphas(run, drifting=["1/cross", "2/fm", "2/cross", "2/linear"])
    assert checked(run)["Drift"].state == "caution"
    assert "1/cross, 2/fm, 2/cross and 1 more" in checked(run)["Drift"].text


def test_controls_are_told_or_missed(make_run: MakeRun) -> None:
    run = make_run()
    write_results(run)
    assert any("random networks at equal FLOPs" in line for line in limits(read_run(run)))
    add_controls(run)
    assert not any("random networks at equal FLOPs" in line for line in limits(read_run(run)))
    (control,) = (check for check in checks(read_run(run)) if check.title == "Random networks")
    assert control.state == "good"
    assert "100 % of 8" in control.text
    results = json.loads((run / "results.json").read_text())
    write(run / "results.json", results | {"random": results["random"] | {"percentile_vs_random": 62.5}})
    (control,) = (check for check in checks(read_run(run)) if check.title == "Random networks")
    assert control.state == "caution"


def test_a_search_by_trials_is_not_told_as_one_by_gates(make_run: MakeRun) -> None:
    run = make_run()
    write_results(run)
    write_report(run)
    assert "the mean probability of its gate" in (run / "report.md").read_text()
    assert any("DistDNAS" in line for line in limits(read_run(run)))
    change_alphas(run, strategy="evolution")
    write_report(run)
    for name in ("report.md", "report.html"):
        assert "mean probability" not in (run / name).read_text()
    assert "share of the days' finalists" in (run / "report.md").read_text()
    assert not any("DistDNAS" in line for line in limits(read_run(run)))
