"""`recsys-nas runs` and `recsys-nas diff` over made-up runs."""

from __future__ import annotations

import fcntl
import json
import math
from pathlib import Path

import pytest

from recsys_nas import cli
from recsys_nas.config import load_config, to_toml
from recsys_nas.report.results import write_results
from recsys_nas.report.runs import CONTROLLER_LOCK, list_runs
from recsys_nas.space import load_architecture
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import MODELS, fabricate, train_controls, write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two finished runs, one half done, and a folder that is none."""
    for name in ("demo", "wide", "half"):
        fabricate(tmp_path / name, name=name, models={"found": MODELS["found"], "mlp": MODELS["mlp"]})
    for name in ("demo", "wide"):
        write_results(tmp_path / name)
    (tmp_path / "half" / "days" / "day=03" / "alphas.json").unlink()
    (tmp_path / "half" / "retrain" / "mlp" / "seed=2" / "result.json").unlink()
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_runs_have_a_state_and_their_best_figures(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", str(runs), "--json"]) == cli.SUCCESS
    listed = {Path(run["folder"]).name: run for run in json.loads(capsys.readouterr().out)}
    assert set(listed) == {"demo", "wide", "half"}
    demo, half = listed["demo"], listed["half"]
    results = json.loads((runs / "demo" / "results.json").read_text())
    assert (demo["state"], demo["days"], demo["trainings"]) == ("done", [5, 5], [6, 6])
    assert (demo["auc"], demo["dense_flops"]) == (results["models"][0]["auc"], 61_440)
    assert (demo["best_other"], demo["best_other_auc"]) == ("mlp", results["models"][1]["auc"])
    assert (half["state"], half["days"], half["trainings"], half["auc"]) == ("stopped", [4, 5], [5, 6], None)
    assert cli.main(["runs", str(runs)]) == cli.SUCCESS
    printed = capsys.readouterr().out
    assert f"{demo['auc']:.4f} ± {demo['auc_ci95']:.4f}" in printed
    assert "61.4 k" in printed


def test_a_run_without_its_random_networks_is_done_and_one_without_a_model_is_not(runs: Path) -> None:
    train_controls(runs / "demo", (0.7, 0.71))
    (runs / "demo" / "retrain" / "random-01" / "seed=0" / "result.json").unlink()
    (run,) = list_runs(runs / "demo")
    assert (run.state, run.trainings) == ("done", (7, 8))
    (runs / "demo" / "retrain" / "mlp" / "seed=2" / "result.json").unlink()
    (run,) = list_runs(runs / "demo")
    assert (run.state, run.trainings) == ("stopped", (6, 8))


def test_days_searched_trial_by_trial_are_counted(runs: Path) -> None:
    run = runs / "demo"
    for path in run.glob("days/*/alphas.json"):
        path.rename(path.with_name("search.json"))
    (run / "config.toml").write_text(to_toml(load_config(run / "config.toml", ["search.strategy=random"])))
    assert (list_runs(run)[0].state, list_runs(run)[0].days) == ("done", (5, 5))


def test_a_run_that_its_controller_holds_is_running(runs: Path) -> None:
    with (runs / "half" / CONTROLLER_LOCK).open("w") as held:
        held.write('{"host": "here", "pid": 1}')
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        (run,) = list_runs(runs / "half")
        assert run.state == "running"
    (run,) = list_runs(runs / "half")
    assert run.state == "stopped"


def test_a_damaged_config_is_listed_with_its_reason(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "half" / "config.toml").write_text('nam = "half"')
    assert cli.main(["runs", str(runs)]) == cli.SUCCESS
    assert "unknown key nam; did you mean name?" in capsys.readouterr().out


def test_diff_of_a_run_with_itself_is_empty(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", str(runs / "demo"), str(runs / "demo"), "--json"]) == cli.SUCCESS
    found = json.loads(capsys.readouterr().out)
    assert (found["config"], found["architecture"]) == ([], {"same": True, "removed": [], "added": []})
    assert {change["change"] for model in found["results"]["models"].values() for change in model.values()} == {0}


def test_diff_tells_key_module_and_figure(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = runs / "wide"
    config = load_config(wide / "config.toml", ["search.cost_weight=0.03", "retrain.sizes={ mlp = { hidden = [64] } }"])
    write(wide / "config.toml", to_toml(config))
    raw = load_architecture(wide / "architecture.json").to_json()
    dropped = raw["blocks"][0]["modules"].pop(0)["name"]
    write(wide / "architecture.json", raw)
    results = json.loads((wide / "results.json").read_text())
    results["models"][0] |= {"auc": results["models"][0]["auc"] + 0.01, "dense_flops": 30_720}
    write(wide / "results.json", results)
    assert cli.main(["diff", str(runs / "demo"), str(wide)]) == cli.SUCCESS
    printed = capsys.readouterr().out
    half = math.sqrt(2) * results["models"][0]["auc_ci95"]
    assert 'name: "demo" -> "wide"' in printed
    assert "search.cost_weight: 0.01 -> 0.03" in printed
    assert '"hidden": [64]' in printed
    assert f"- block 1: {dropped} reads" in printed
    assert f"(+0.0100 ± {half:.4f})" in printed
    assert "61.4 k -> 30.7 k (50 %)" in printed


def test_diff_says_when_there_is_nothing_to_compare(runs: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", str(runs / "demo"), str(runs / "half")]) == cli.SUCCESS
    assert "no results.json yet; `recsys-nas compare` makes it" in capsys.readouterr().out
    assert cli.main(["diff", str(runs / "demo"), str(runs / "notes")]) == cli.USER_ERROR
