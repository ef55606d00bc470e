"""Rows that are hard on figures: clicks so rare that whole windows have none, and trainings that diverge."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from data_prep.atomic import write_json
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.day_bench import DayBench
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.jobs.search_day import search_day
from recsys_nas.search.path_sampling import SampledPaths
from recsys_nas.search.strategy import Proposal, SupernetTraining, TrialFailed
from recsys_nas.training.trainer import Diverged
from tests.recsys_nas.jobs.conftest import set_options, write_run


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """A run whose first day has no click."""
    return write_run(tmp_path, without_clicks=(0,))


def test_a_day_without_clicks_is_searched(quiet: Path, ranks: Ranks) -> None:
    search_day(Run.open(quiet), 0, ranks)
    record = read(quiet / "days" / "day=00" / "alphas.json")
    assert record["train_ne"] is None
    assert {point["ne"] for point in record["learning_curve"]} == {None}
    for line in (quiet / "days" / "day=00" / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line


def test_windows_without_clicks_leave_gaps_in_the_curve_of_a_training(quiet: Path, ranks: Ranks) -> None:
    set_options(quiet, "retrain", checkpoint_every_steps=3)
    retrain(Run.open(quiet), "mlp", 0, ranks)
    curve = read(quiet / "retrain" / "mlp" / "seed=0" / "result.json")["learning_curve"]
    assert curve[0]["ne"] is None
    assert curve[-1]["ne"] is not None


def test_trials_on_rows_of_one_class_are_judged_all_the_same(quiet: Path, ranks: Ranks) -> None:
    bench = DayBench(Run.open(quiet).searching(), 0, ranks, quiet)
    figures = bench.judge(Proposal(bench.run.space().sample(Random(0)), "trained", 512))
    assert set(figures) == {"loss", "slope", "seconds"}


@pytest.mark.parametrize("job", ["search", "retrain"])
def test_a_training_that_diverges_ends_in_a_line_that_says_what_to_lower(run_folder: Path, ranks: Ranks, job: str) -> None:
    for section in ("search", "retrain"):
        set_options(run_folder, section, learning_rate=1e30)
    run = Run.open(run_folder)
    write_json(run_folder / "architecture.json", run.space().full().to_json())
    train = {"search": lambda: search_day(run, 0, ranks), "retrain": lambda: retrain(run, "found", 0, ranks)}[job]
    with pytest.raises(Diverged, match=r"^step \d+: the training loss is not finite; lower learning_rate .*clip_norm$"):
        train()


def test_a_trial_that_diverges_has_failed(run_folder: Path, ranks: Ranks) -> None:
    set_options(run_folder, "search", learning_rate=1e30)
    bench = DayBench(Run.open(run_folder).searching(), 0, ranks, run_folder)
    with pytest.raises(TrialFailed, match=r"^step \d+: the training loss is not finite$"):
        bench.judge(Proposal(bench.run.space().full(), "trained", 1024))


def test_a_supernet_whose_predictions_are_no_numbers_fails_the_trial(run_folder: Path, ranks: Ranks) -> None:
    bench = DayBench(Run.open(run_folder).searching(), 0, ranks, run_folder)
    bench.train_supernet(SupernetTraining(0, SampledPaths(bench.run.space(), 0, 0.0, single=False)))
    assert bench._frozen is not None
    for parameter in bench._frozen.supernet.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(TrialFailed, match="predictions are not finite"):
        bench.judge(Proposal(bench.run.space().full(), "shared"))
