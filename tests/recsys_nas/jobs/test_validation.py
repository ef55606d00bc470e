"""Training with validation days: the rate is cut, the best epoch is kept, training ends in time, and a kill changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.shards import Manifest
from recsys_nas.config import ConfigError, from_mapping, to_toml
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import PREDICTIONS, prepare, retrain
from recsys_nas.training.metrics import quality
from recsys_nas.training.objective import LogLoss
from recsys_nas.training.telemetry import Telemetry
from recsys_nas.training.trainer import predict
from tests.fabricated_shards import write_shards

pytestmark = pytest.mark.filterwarnings("ignore:.*an autograd kernel was not registered:UserWarning")  # fbgemm's dense lookup on a CPU

ADAM = {"dim": 6, "optimizer": "adam", "learning_rate": 1e-2, "weight_decay": 1e-3, "init_scale": 0.1}
RECIPE = {
    "models": ["mlp"],
    "sizes": {"mlp": {"hidden": [16]}},
    "seeds": [0],
    "batch_size": 128,
    "epochs": 30,
    "shuffle": "rows",
    "learning_rate": 1e-2,
    "lr_decay": "constant",
    "clip_norm": 10.0,
    "initialisation": "xavier_normal",
    "batch_norm": True,
    "dropout": 0.2,
    "patience": 2,
    "lr_cut": 0.1,
    "checkpoint_every_steps": 7,
}


class Killed(BaseException):
    """Stands in for SIGKILL."""


def run_of(folder: Path, days: dict[str, Any], **retrain: Any) -> Run:
    """A run over 4 days of 2,048 rows, under the recipe of small published benchmarks."""
    folder.mkdir(exist_ok=True)
    if not (folder / "shards").exists():
        write_shards(folder / "shards", days=4, rows_per_part=(1536, 512))
    data = {"shards": str(folder / "shards"), "search_days": "0", "train_days": "0-1", "test_day": 3} | days
    raw = {"name": "run", "output": str(folder), "data": data, "embedding": ADAM, "retrain": RECIPE | retrain}
    config = from_mapping(raw, where="test")
    config.run_folder.mkdir(exist_ok=True)
    (config.run_folder / "config.toml").write_text(to_toml(config))
    return Run.open(config.run_folder)


def result(run: Run, model: str = "mlp") -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run.folder / "retrain" / model / "seed=0" / "result.json").read_text())
    return value


def test_training_stops_by_the_rule_and_goes_back_to_the_best_epoch(tmp_path: Path, ranks: Ranks) -> None:
    run = run_of(tmp_path, {"valid_days": "2"})
    retrain(run, "mlp", 0, ranks)
    judged = result(run)
    aucs = [epoch["auc"] for epoch in judged["validations"]]
    best = int(np.argmax(aucs))
    assert len(aucs) < 30, "it was not stopped"
    assert best == len(aucs) - 3
    assert [epoch["step"] for epoch in judged["validations"]] == [32 * (n + 1) for n in range(len(aucs))]
    assert judged["auc"] > 0.7, "the planted pair was not learnt"
    # The weights left behind are those of the best epoch.
    trainer = prepare(run, "mlp", 0, ranks, run.folder / "retrain" / "mlp" / "seed=0", (0, 1))
    valid = predict(trainer.parts.model, run.reader([2], ranks, 128, shuffle_seed=None), ranks.device)
    assert quality(*valid).auc == pytest.approx(aucs[best], abs=1e-9)


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_of(tmp_path, {"valid_days": "2"}, epochs=6)
    retrain(whole, "mlp", 0, ranks)
    cut = replace(whole, folder=tmp_path / "cut")

    def killing_at(kill: int) -> None:
        def before_update(self: LogLoss, step: int) -> None:
            if step == kill:
                raise Killed

        monkeypatch.setattr(LogLoss, "before_update", before_update)

    # In the middle of an epoch, in its last step, and in the first step after a validation.
    for step in (10, 63, 64):
        killing_at(step)
        with pytest.raises(Killed):
            retrain(cut, "mlp", 0, ranks)
    monkeypatch.undo()
    retrain(cut, "mlp", 0, ranks)
    mine, theirs = result(cut), result(whole)
    assert mine["validations"] == theirs["validations"]
    assert (mine["auc"], mine["logloss"]) == (theirs["auc"], theirs["logloss"])


def test_the_rate_is_cut_for_tables_and_dense_half_alike(tmp_path: Path, ranks: Ranks) -> None:
    run = run_of(tmp_path, {"valid_days": "2"})
    trainer = prepare(run, "mlp", 0, ranks, run.folder / "job", (0, 1))
    telemetry = Telemetry(run.folder / "job", trainer.parts.reader.total_rows, 0, active=False)
    trainer.train(telemetry)
    trainer._optimizer.zero_grad()
    expected = 1e-2 * trainer.parts.validation.rules.factor(trainer.progress.validations)  # type: ignore[union-attr]
    assert expected < 1e-3
    rates = {
        group["lr"]
        for optimizer in (trainer.parts.optimizers["weights"], trainer.parts.tables.optimizer)
        for group in optimizer.param_groups
    }
    assert sorted(rates) == pytest.approx([expected])


def test_days_in_turn_are_scored_by_models_of_the_days_before(tmp_path: Path, ranks: Ranks) -> None:
    run = run_of(tmp_path, {"train_days": "0-2"}, progressive="1-3", epochs=2, patience=0, lr_cut=1.0)
    retrain(run, "mlp", 0, ranks)
    judged = result(run)
    assert [(day["day"], day["rows"]) for day in judged["by_day"]] == [(1, 2048), (2, 2048), (3, 2048)]
    assert (judged["test_rows"], judged["train_rows"]) == (3 * 2048, 2 * (1 + 2 + 3) * 2048)
    assert judged["by_day"][0]["auc"] < judged["by_day"][2]["auc"], "more days did not help"
    predictions = np.load(run.folder / "retrain" / "mlp" / "seed=0" / PREDICTIONS)
    labels = torch.cat([predict_labels(run, day, ranks) for day in (1, 2, 3)])
    assert quality(torch.from_numpy(predictions), labels).auc == judged["auc"]


def predict_labels(run: Run, day: int, ranks: Ranks) -> torch.Tensor:
    return torch.cat([batch.labels[: batch.valid] for batch in run.reader([day], ranks, 512, shuffle_seed=None)])


@pytest.mark.parametrize(
    ("days", "retrain_", "message"),
    [
        ({}, {}, "retrain.patience and retrain.lr_cut go by validation days: name some in data.valid_days"),
        ({"valid_days": "1-2"}, {}, "data.valid_days = '1-2': day 1 is among data.train_days"),
        ({"valid_days": "3"}, {}, "data.valid_days = '3' holds the test day 3"),
        ({"valid_days": "2"}, {"dropout": 1.0}, r"retrain.dropout = 1.0: must lie in \[0, 1\)"),
        ({"valid_days": "2"}, {"lr_cut": 0.0}, r"retrain.lr_cut = 0.0: must lie in \(0, 1\]"),
        ({"valid_days": "2"}, {"progressive": "x"}, "retrain.progressive = 'x': write days as"),
    ],
)
def test_settings_that_cannot_be_are_named(tmp_path: Path, days: dict[str, Any], retrain_: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(tmp_path, days, **retrain_)


def test_a_day_without_both_classes_is_named_before_anything_is_trained(tmp_path: Path, ranks: Ranks) -> None:
    run = run_of(tmp_path, {"valid_days": "2"})
    empty = Manifest(run.schema, {}, tuple(replace(day, positives=0 if day.day == 3 else day.positives) for day in run.manifest.days))
    with pytest.raises(ConfigError, match=r"data.test_day: day 3 of the data hold 2,048 rows, and rows without a click only"):
        retrain(replace(run, manifest=empty), "mlp", 0, ranks)
    run = run_of(tmp_path, {"valid_days": "2"}, progressive="0-3", patience=0, lr_cut=1.0)
    with pytest.raises(ConfigError, match=r"retrain.progressive = '0-3': no day of data.train_days = '0-1' comes before 0"):
        retrain(run, "mlp", 0, ranks)


def test_sizes_of_the_zoo_can_be_changed_under_names_of_their_own(tmp_path: Path, ranks: Ranks) -> None:
    sizes = {"small": {"model": "finalmlp", "first": [8], "second": [4], "num_heads": 2, "contexts": ["C2", "C3"], "gate_hidden": [5]}}
    run = run_of(tmp_path, {"valid_days": "2"}, sizes=sizes, models=["small"], epochs=1)
    retrain(run, "small", 0, ranks)
    fields, dim = 2 + 3, 6
    gates = 2 * (dim * 5 + 5 * fields * dim)
    fusion = 8 + 4 + 2 * 4 * 2
    assert result(run, "small")["dense_flops"] == 2 * (gates + fields * dim * (8 + 4) + fusion)
    for wrong, message in (
        ({"small": {"model": "finalmlp", "crosses": 2}}, "retrain.sizes.small.crosses: finalmlp has no such size"),
        ({"small": {"model": "finalmlb"}}, "no model is named 'finalmlb'; did you mean 'finalmlp'"),
        ({"small": {"model": "finalmlp", "contexts": ["C2", "C9"]}}, "contexts names 'C9', which is no categorical feature"),
    ):
        with pytest.raises(ConfigError, match=message):
            retrain(run_of(tmp_path / message[:5], {"valid_days": "2"}, sizes=wrong), "small", 0, ranks)
