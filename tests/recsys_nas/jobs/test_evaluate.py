"""A trained model on other days: the test day gives what training wrote, days together are no mean of days, and errors are one line."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from recsys_nas import cli
from recsys_nas.config import ConfigError
from recsys_nas.jobs import environment
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.evaluate import _ranges, evaluate, evaluation_text
from recsys_nas.jobs.retrain import retrain
from recsys_nas.serving.quantised import trained_model
from recsys_nas.training.metrics import quality
from recsys_nas.training.trainer import predict
from tests.recsys_nas.jobs.conftest import write_run


def trained(run_folder: Path, ranks: Ranks) -> tuple[Run, dict[str, Any]]:
    run = Run.open(run_folder)
    retrain(run, "mlp", 1, ranks)
    return run, json.loads((run_folder / "retrain" / "mlp" / "seed=1" / "result.json").read_text())


def test_each_day_and_all_of_them_are_judged(run_folder: Path, ranks: Ranks) -> None:
    run, result = trained(run_folder, ranks)
    record = evaluate(run, "mlp", 1, (0, 2), ranks)
    assert [(day["day"], day["rows"]) for day in record["by_day"]] == [(0, 2048), (2, 2048)]
    for figure in ("auc", "logloss", "ne", "calibration", "auc_row_ci95"):
        assert record["by_day"][1][figure] == result[figure]
    # An AUC over both days compares clicks of one with rows of the other; a mean of two AUCs does not.
    model = trained_model(run, "mlp", 1)
    rows = [predict(model, run.reader([day], ranks, 512, None), ranks.device) for day in (0, 2)]
    together = quality(*(torch.cat(column) for column in zip(*rows, strict=True)))
    assert (record["auc"], record["rows"]) == (together.auc, 4096)
    assert record["auc"] != pytest.approx(sum(day["auc"] for day in record["by_day"]) / 2, abs=1e-9)
    lines = evaluation_text(record).splitlines()
    assert [line.split()[0] for line in lines] == ["mlp,", "day", "day", "all"]
    assert f"AUC {record['auc']:.4f} ± {record['auc_row_ci95']:.4f}" in lines[-1]


def test_what_is_there_is_not_made_again(run_folder: Path, ranks: Ranks) -> None:
    run, _ = trained(run_folder, ranks)
    record = evaluate(run, "mlp", 1, (1,), ranks)
    path = run_folder / "evaluate" / "mlp" / "seed=1" / "days=1.json"
    assert json.loads(path.read_text()) == record
    path.write_text(json.dumps(record | {"auc": 0.25}))
    assert evaluate(run, "mlp", 1, (1,), ranks)["auc"] == 0.25
    result = run_folder / "retrain" / "mlp" / "seed=1" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"train_seconds": 1.0}))
    assert evaluate(run, "mlp", 1, (1,), ranks)["auc"] == record["auc"], "the model was trained anew"


def test_a_record_of_many_days_has_a_short_name_and_a_broken_one_is_made_again(run_folder: Path, ranks: Ranks) -> None:
    run, _ = trained(run_folder, ranks)
    record = evaluate(run, "mlp", 1, (0, 1, 2), ranks)
    path = run_folder / "evaluate" / "mlp" / "seed=1" / "days=0-2.json"
    path.write_text(path.read_text()[:40])
    assert evaluate(run, "mlp", 1, (0, 1, 2), ranks) == record == json.loads(path.read_text())
    assert _ranges((7, 3, 4, 5, 9, 10)) == "7,3-5,9-10"


def test_a_record_of_another_network_is_not_handed_out(run_folder: Path, ranks: Ranks) -> None:
    run, result = trained(run_folder, ranks)
    evaluate(run, "mlp", 1, (1,), ranks)
    edited = run_folder / "retrain" / "mlp" / "seed=1" / "result.json"
    edited.write_text(json.dumps(result | {"architecture": "0123456789abcdef"}))
    with pytest.raises(ConfigError, match="is of another network than"):
        evaluate(run, "mlp", 1, (1,), ranks)


def test_a_day_of_one_class_is_named(tmp_path: Path, ranks: Ranks) -> None:
    run, _ = trained(write_run(tmp_path, without_clicks=(0,)), ranks)
    with pytest.raises(ConfigError, match=r"^--days: day 0 of the data hold 2,048 rows, and rows without a click only"):
        evaluate(run, "mlp", 1, (0, 2), ranks)


@pytest.fixture
def one_group(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb finds the process group of the tests, rather than start one of its own."""
    monkeypatch.setattr(environment, "process_group", lambda: nullcontext(ranks))


@pytest.mark.usefixtures("one_group")
def test_the_verb_takes_the_first_seed_and_names_what_is_missing(
    run_folder: Path, ranks: Ranks, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(run_folder), "--model", "mlp", "--days"]
    assert cli.main([*command, "2"]) == cli.USER_ERROR
    assert "seed=0 holds no trained model; run `recsys-nas retrain" in capsys.readouterr().err
    trained(run_folder, ranks)
    capsys.readouterr()
    for days, said in (("7", "day 7 is not in these shards; days there: 0, 1, 2"), ("x", "--days = 'x': write days as")):
        assert cli.main([*command, days, "--seed", "1"]) == cli.USER_ERROR
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.count("\n") == 1
    assert cli.main([*command, "2", "--seed", "1", "--json"]) == cli.SUCCESS
    assert json.loads(capsys.readouterr().out)["rows"] == 2048


@pytest.mark.usefixtures("one_group")
def test_a_model_that_the_comparison_leaves_out_is_told(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model, told in (("lr", True), ("mlp", False)):
        assert cli.main(["retrain", str(run_folder), "--model", model]) == cli.SUCCESS
        assert (f"{model} is none of retrain.models" in capsys.readouterr().err) == told


@pytest.mark.usefixtures("one_group")
def test_models_trained_by_days_in_turn_are_refused(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_folder / "config.toml"
    config.write_text(config.read_text().replace('progressive = ""', 'progressive = "1-2"'))
    assert cli.main(["evaluate", str(run_folder), "--model", "mlp", "--days", "2"]) == cli.USER_ERROR
    assert "trains a model for each of retrain.progressive's days" in capsys.readouterr().err
