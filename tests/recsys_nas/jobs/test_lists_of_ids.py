"""A column of lists goes through every job: its table is searched, trained, judged, priced and served like the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.shards import open_part
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.plan import plan_run
from recsys_nas.jobs.retrain import retrain
from recsys_nas.jobs.search_day import search_day
from recsys_nas.serving.quantised import quantise_model, trained_model
from tests.fabricated_shards import SEEN
from tests.recsys_nas.jobs.conftest import write_run

ROWS = 11 + 7 + 5 + 13


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> Run:
    """A run with a trained model."""
    folder = write_run(tmp_path_factory.mktemp("lists"), lists=True)
    retrain(Run.open(folder), "mlp", 0, ranks)
    return Run.open(folder)


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def mean_length(run: Run) -> float:
    parts = [open_part(run.shards, part).jagged[SEEN.name].offsets for day in run.manifest.days for part in day.parts]
    return sum(int(offsets[-1]) for offsets in parts) / sum(len(offsets) - 1 for offsets in parts)


def test_the_table_is_trained_and_priced(run: Run) -> None:
    trained = trained_model(run, "mlp", 0)
    weights = trained.tables.embedding_bags["t_seen"].weight.detach()
    assert (trained.names, run.sizes, list(weights.shape)) == (["C1", "C2", "C3", "seen"], (2, 4, 4), [13, 4])
    odd, even = weights[1::2].mean(0), weights[::2].mean(0)
    assert float((odd - even).norm()) > 0.3, "odd ids raise the click rate and even ones lower it: the table did not learn that"
    result = read(run.folder / "retrain" / "mlp" / "seed=0" / "result.json")
    assert result["auc"] > 0.8, "C1 to C3 alone reach 0.7"
    assert result["embedding_params"] == ROWS * 4
    assert result["lookup_flops"] == round((3 + mean_length(run)) * 4)
    plan = read(run.folder / "retrain" / "mlp" / "seed=0" / "plan.json")
    assert [(table["name"], table["rows"]) for table in plan["tables"]][3:] == [("t_seen", 13)]


def test_it_is_served_as_it_was_trained(run: Run, ranks: Ranks) -> None:
    (report,) = quantise_model(run, "mlp", 0, ["int8"], ranks)
    result = read(run.folder / "retrain" / "mlp" / "seed=0" / "result.json")
    assert report["auc_float32"] == pytest.approx(result["auc"], abs=1e-9)
    assert 0 < report["largest_prediction_change"] < 0.02
    assert report["bytes"] == ROWS * (4 + 4)
    tables = read(run.folder / "serving" / "mlp" / "seed=0" / "int8" / "tables" / "tables.json")["tables"]
    assert [(table["name"], table["pooling"]) for table in tables] == [
        ("t_C1", "SUM"),
        ("t_C2", "SUM"),
        ("t_C3", "SUM"),
        ("t_seen", "MEAN"),
    ]


def test_a_search_trains_it_under_a_cap_that_ids_wrap_around(run: Run, ranks: Ranks) -> None:
    config = run.folder / "config.toml"
    config.write_text(config.read_text().replace("max_rows = 0\nalpha", "max_rows = 6\nalpha"))
    run = Run.open(run.folder)
    search_day(run, 0, ranks)
    assert read(run.folder / "days" / "day=00" / "alphas.json")["rows"] == 2048
    plan = read(run.folder / "days" / "day=00" / "plan.json")
    assert [table["rows"] for table in plan["tables"]] == [6, 6, 5, 6]
    ids = next(iter(run.searching().reader([0], ranks, 128, shuffle_seed=0))).sparse[SEEN.name].values()
    assert ids.unique().tolist() == torch.arange(6).tolist()


def test_the_planner_counts_the_ids_of_its_lists(run: Run) -> None:
    buffers = {table.name: table.memory.buffers for table in plan_run(run.config, "retrain", 2).tables}
    assert buffers["t_seen"] > buffers["t_C2"]
