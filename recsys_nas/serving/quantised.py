"""A trained model with quantised tables: written for serving, and judged beside the float32 one on the run's test day.

Writes `<run>/serving/<model>/seed=S/<dtype>/tables/` and `report.json` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from data_prep.atomic import write_json
from data_prep.wording import counted
from embeddings.lookup_cost import ElementType, lookup_cost, table_memory
from embeddings.quantise import QuantisationError, QuantisedTable, quantise_tables, save_tables, serving_collection
from embeddings.tables import embedding_tables, table_rows
from recsys_nas.architecture_files import check_current
from recsys_nas.config import ConfigError
from recsys_nas.jobs.assembly import Run, read_json
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.networks import build_network
from recsys_nas.jobs.retrain import seeds_of
from recsys_nas.training.checkpoint import Checkpointer, Retention
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.metrics import paired_difference, quality
from recsys_nas.training.trainer import predict

FORMAT_VERSION = 1
CPU = torch.device("cpu")
"""Where `trained_model` puts a model, and so where it is to be asked."""


def trained_model(run: Run, model: str, seed: int) -> CtrModel:
    """A retrained model, unsharded and on the CPU, whatever plan and ranks trained it. Needs a process group of one.

    Raises ConfigError when it has not been trained, or by days in turn, so that no model is left that has seen all of them, or its last
    checkpoint is damaged, or the run's architecture has changed since.
    """
    if run.config.retrain.progressive:
        raise ConfigError("this run trains a model for each of retrain.progressive's days; what is asked needs one with that left empty")
    folder = run.folder / "retrain" / model / f"seed={seed}"
    check_trained(run, model, seed)
    tables = embedding_tables(run.schema, run.config.embedding).to_empty(device=CPU)
    trained = CtrModel(tables, list(table_rows(run.schema, run.config.embedding)), build_network(run, model))
    if not Checkpointer(folder / "checkpoint", Retention(0)).load_final_weights(trained):
        raise ConfigError(f"{folder} has a result and no checkpoint of its end; remove it and run {_retrain(run, model)}")
    return trained.eval()


def check_trained(run: Run, model: str, seed: int) -> None:
    """Raises ConfigError when the model has no result, or one of another network than the run's file holds now."""
    path = run.folder / "retrain" / model / f"seed={seed}" / "result.json"
    if path.exists():
        check_current(run.folder, model, read_json(path), path)
        return
    if seed not in (seeds := seeds_of(run.config.retrain, model)):
        named = ", ".join(map(str, seeds))
        raise ConfigError(f"seed {seed}: this run trains {model} with {counted(len(seeds), 'seed')}, {named}; name one of them")
    raise ConfigError(f"{path.parent} holds no trained model; run {_retrain(run, model)}")


def _retrain(run: Run, model: str) -> str:
    return f"`recsys-nas retrain {run.folder} --model {model}`"


def quantise_model(run: Run, model: str, seed: int, dtypes: Sequence[ElementType], ranks: Ranks) -> list[dict[str, Any]]:
    """Write the tables of a trained model in each of `dtypes` and return what is in their `report.json`."""
    trained = trained_model(run, model, seed)
    reader = run.reader([run.config.data.test_day], ranks, run.config.retrain.batch_size, shuffle_seed=None)
    as_trained, labels = predict(trained, reader, CPU)
    reports = []
    for dtype in dtypes:
        tables, errors = quantise_tables(trained.tables, dtype)
        folder = run.folder / "serving" / model / f"seed={seed}" / dtype
        save_tables(folder / "tables", tables)
        served = CtrModel(serving_collection(tables), trained.names, trained.network).eval()
        as_served, _ = predict(served, reader, CPU)
        report = {"format_version": FORMAT_VERSION, "model": model, "seed": seed, "dtype": dtype}
        report |= _sizes(run, dtype, tables, errors) | _losses(as_trained, as_served, labels)
        write_json(folder / "report.json", report)
        reports.append(report)
    return reports


def _sizes(run: Run, dtype: ElementType, tables: list[QuantisedTable], errors: list[QuantisationError]) -> dict[str, Any]:
    """Bytes of the tables, how far their elements moved, and what a lookup costs in this form."""
    dim, rows = run.config.embedding.dim, table_rows(run.schema, run.config.embedding)
    before = table_memory(rows, dim)
    by_table = [
        {"float32_bytes": memory.bytes, "bytes": table.rows.numel(), "rows": memory.rows} | asdict(error)
        for memory, table, error in zip(before, tables, errors, strict=True)
    ]
    return {
        "float32_bytes": sum(memory.bytes for memory in before),
        "bytes": sum(table.rows.numel() for table in tables),
        "largest_error": max(error.largest for error in errors),
        "lookup": asdict(lookup_cost(run.schema, dim, dtype, run.mean_lengths)),
        "tables": by_table,
    }


def _losses(as_trained: Tensor, as_served: Tensor, labels: Tensor) -> dict[str, Any]:
    """What predicting with these tables costs: as trained minus as served, with intervals under sampling of the rows."""
    before, after = quality(as_trained, labels), quality(as_served, labels)
    paired = paired_difference(as_trained, as_served, labels)
    return {
        "test_rows": before.rows,
        "auc_float32": before.auc,
        "auc": after.auc,
        "auc_loss": paired.auc,
        "auc_loss_row_ci95": paired.auc_row_ci95,
        "logloss_float32": before.logloss,
        "logloss": after.logloss,
        "logloss_increase": -paired.logloss,
        "logloss_increase_row_ci95": paired.logloss_row_ci95,
        "largest_prediction_change": float((as_trained - as_served).abs().max()),
    }


def summary(report: dict[str, Any]) -> str:
    """One line of a report for the terminal."""
    share = report["bytes"] / report["float32_bytes"]
    interval = "" if report["auc_loss_row_ci95"] is None else f" ± {report['auc_loss_row_ci95']:.6f}"
    size = f"{report['dtype']}: {report['bytes'] / 1e6:.2f} MB, {share:.1%} of float32"
    return (
        f"{size}; largest error of an element {report['largest_error']:.2g}; "
        f"AUC {report['auc']:.6f}, loses {report['auc_loss']:+.6f}{interval} on {report['test_rows']:,} rows (95 %, over rows)"
    )
