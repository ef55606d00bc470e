"""What TensorBoard shows of a day's search and of a retrained model, read back from their event files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.jobs.search_day import search_day

EVERY_JOB = {
    *(f"train/{name}" for name in ("loss", "ne", "rows_per_second", "data_wait_share", "host_memory_mb")),
    *(f"eval/{name}" for name in ("auc", "ne", "calibration")),
    "learning_rate/weights",
    "learning_rate/tables",
    "gradient_norm/weights",
}


def last(folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """The last value of every scalar, and the texts."""
    read = EventAccumulator(str(folder)).Reload()
    scalars = {tag: read.Scalars(tag)[-1].value for tag in read.Tags()["scalars"]}
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"] if "/text_summary" in tag}
    return scalars, {tag.split("/")[0]: text for tag, text in texts.items()}


PAGE = (Path(__file__).resolve().parents[3] / "docs" / "run-folder.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([\w/*.]+)`", PAGE))
OF_EACH = ("learning_rate/", "gradient_norm/", "gates/", "alphas/")
POSITION = {"step", "rows", "total_rows", "seconds_left"}


def check_names(folder: Path, scalars: dict[str, float]) -> None:
    """Tags are on the page of names, and records have the same words: those of `train/` without it, all others as they stand."""
    assert {tag for tag in scalars if not tag.startswith(OF_EACH)} <= NAMED
    keys = set(json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]))
    # what comes once, and what every module has, is in the events alone
    in_events_alone = ("gates/", "alphas/", "test/", "cost/", "search/gate_entropy")
    assert keys - POSITION == {tag.removeprefix("train/") for tag in scalars if not tag.startswith(in_events_alone)}
    assert keys >= POSITION


def test_a_day(run_folder: Path, ranks: Ranks) -> None:
    search_day(Run.open(run_folder), 0, ranks)
    folder = run_folder / "days" / "day=00"
    scalars, texts = last(folder)
    alphas = json.loads((folder / "alphas.json").read_text())
    assert set(scalars) >= EVERY_JOB | {"learning_rate/alphas", "search/gate_entropy", "search/expected_dense_flops"}
    for gate in alphas["gates"]:
        name = f"{gate['block']}/{gate['module']}"
        assert scalars[f"alphas/{name}"] == pytest.approx(gate["alpha"])
        assert scalars[f"gates/{name}"] == pytest.approx(gate["probability"])
    assert scalars["search/expected_cost_share"] == pytest.approx(alphas["expected_cost_share"])
    check_names(folder, scalars)
    assert "[search]" in texts["config"]
    assert "dense FLOPs per example" in texts["architecture"]


def test_a_retrained_model(run_folder: Path, ranks: Ranks) -> None:
    retrain(Run.open(run_folder), "mlp", 0, ranks)
    folder = run_folder / "retrain" / "mlp" / "seed=0"
    scalars, texts = last(folder)
    result = json.loads((folder / "result.json").read_text())
    assert set(scalars) >= EVERY_JOB
    for name in ("auc", "logloss", "ne", "calibration"):
        assert scalars[f"test/{name}"] == pytest.approx(result[name])
    for name in ("dense_flops", "lookup_bytes", "dense_params"):
        assert scalars[f"cost/{name}"] == result[name]
    check_names(folder, scalars)
    assert "Linear" in texts["architecture"]
