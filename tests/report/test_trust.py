"""Evidence is marked by what its figures say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys_nas.report.records import read_run
from recsys_nas.report.results import write_results
from recsys_nas.report.trust import Check, checks, limits
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import write


def checked(run: Path) -> dict[str, Check]:
    write_results(run)
    return {check.title: check for check in checks(read_run(run))}


def change_alphas(run: Path, **changes: Any) -> None:
    alphas = json.loads((run / "alphas.json").read_text())
    write(run / "alphas.json", alphas | changes)


@pytest.mark.parametrize(("seeds", "state"), [((0,), "caution"), ((0, 1), "caution"), ((0, 1, 2), "good")])
def test_few_seeds_call_for_caution(make_run: MakeRun, seeds: tuple[int, ...], state: str) -> None:
    assert checked(make_run(seeds=seeds))["Seeds"].state == state


def test_days_that_disagree_call_for_caution(make_run: MakeRun) -> None:
    run = make_run()
    assert checked(run)["Days"].state == "good"
    change_alphas(run, agreement={"kendall_tau": 0.9, "jaccard": 0.3})
    assert checked(run)["Days"].state == "caution"
    assert "is 0.90" in checked(run)["Days"].text
    assert "keep 0.30" in checked(run)["Days"].text


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
