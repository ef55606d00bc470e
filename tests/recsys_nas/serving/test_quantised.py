"""A trained model's tables are quantised, judged against the trained ones, and can be served again from their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.atomic import write_json
from embeddings.quantise import load_tables, serving_collection
from recsys_nas import cli
from recsys_nas.config import ConfigError
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.serving.quantised import quantise_model, summary, trained_model
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.trainer import predict
from tests.recsys_nas.jobs.conftest import write_run


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> Run:
    folder = write_run(tmp_path_factory.mktemp("quantised"))
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("epochs = 1", "epochs = 4"))
    retrain(Run.open(folder), "mlp", 0, ranks)
    return Run.open(folder)


def result(run: Run) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run.folder / "retrain" / "mlp" / "seed=0" / "result.json").read_text())
    return value


def test_eight_bits_cost_less_than_four_and_little_at_all(trained_run: Run, ranks: Ranks) -> None:
    reports = quantise_model(trained_run, "mlp", 0, ["float16", "int8", "int4"], ranks)
    assert all(report["auc_float32"] == pytest.approx(result(trained_run)["auc"], abs=1e-9) for report in reports)
    assert all(report["test_rows"] == 2048 for report in reports)
    rows = 11 + 7 + 5
    assert [(r["float32_bytes"], r["bytes"]) for r in reports] == [(rows * 16, rows * size) for size in (8, 8, 6)]
    assert [r["lookup"]["bytes"] for r in reports] == [3 * 8, 3 * 8, 3 * 6]
    half, eight, four = (report["largest_error"] for report in reports)
    assert 0 < half < eight < four
    assert abs(reports[1]["auc_loss"]) < 2e-3
    # A step of 4 bits is 17 times one of 8.
    assert 0 < 4 * reports[1]["largest_prediction_change"] < reports[2]["largest_prediction_change"]
    for report in reports:
        assert report["auc_loss"] == pytest.approx(report["auc_float32"] - report["auc"], abs=1e-12)
        assert report["auc_loss_row_ci95"] > 0
        assert {table["table"] for table in report["tables"]} == {"t_C1", "t_C2", "t_C3"}
        written = json.loads((trained_run.folder / "serving" / "mlp" / "seed=0" / report["dtype"] / "report.json").read_text())
        assert written == report
    assert summary(reports[1]).startswith("int8: 0.00 MB, 50.0% of float32; ")


def test_the_written_tables_serve_the_same_predictions(trained_run: Run, ranks: Ranks) -> None:
    (report,) = quantise_model(trained_run, "mlp", 0, ["int8"], ranks)
    trained = trained_model(trained_run, "mlp", 0)
    tables = load_tables(trained_run.folder / "serving" / "mlp" / "seed=0" / "int8" / "tables")
    reader = trained_run.reader([2], ranks, 512, shuffle_seed=None)
    before, _ = predict(trained, reader, torch.device("cpu"))
    after, _ = predict(CtrModel(serving_collection(tables), trained.names, trained.network), reader, torch.device("cpu"))
    assert float((before - after).abs().max()) == pytest.approx(report["largest_prediction_change"], abs=1e-6)


def test_the_verb_hands_its_arguments_on(trained_run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def recorded(*arguments: Any) -> list[dict[str, Any]]:
        calls.append(arguments)
        return []

    # The real function needs the process group that this verb would make, and a process can have only one.
    monkeypatch.setattr("recsys_nas.serving.quantised.quantise_model", recorded)
    monkeypatch.setattr("recsys_nas.jobs.environment.process_group", _no_group)
    assert cli.main(["quantise", str(trained_run.folder), "--model", "mlp", "--dtype", "int8", "int4"]) == cli.SUCCESS
    ((run, model, seed, dtypes, _),) = calls
    assert (run.folder, model, seed, dtypes) == (trained_run.folder, "mlp", 0, ["int8", "int4"])


class _no_group:  # noqa: N801 - stands for a function
    def __enter__(self) -> None: ...

    def __exit__(self, *arguments: object) -> None: ...


def test_a_model_that_was_not_trained_is_named(run_folder: Path, ranks: Ranks) -> None:
    run = Run.open(run_folder)
    with pytest.raises(ConfigError, match=r"retrain/mlp/seed=0 holds no trained model; run `recsys-nas retrain .* --model mlp`"):
        trained_model(run, "mlp", 0)
    # A result without its checkpoint will not do.
    write_json(run_folder / "retrain" / "mlp" / "seed=0" / "result.json", {})
    with pytest.raises(ConfigError, match=r"seed=0 has a result and no checkpoint of its end; remove it and run `recsys-nas retrain"):
        trained_model(run, "mlp", 0)
    with pytest.raises(ConfigError, match="seed 7: this run trains mlp with 2 seeds, 0, 1; name one of them"):
        trained_model(run, "mlp", 7)


def test_weights_of_another_network_are_not_served(trained_run: Run) -> None:
    """Without learnt scales, weights fit whatever the normalisation is."""
    path = trained_run.folder / "retrain" / "found" / "seed=0" / "result.json"
    write_json(path, {"architecture": "0123456789abcdef"})
    write_json(trained_run.folder / "architecture.json", trained_run.space().full().canonical().to_json())
    with pytest.raises(ConfigError, match=r"is of another network than .*architecture\.json holds now; remove .*found and run"):
        trained_model(trained_run, "found", 0)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path)
