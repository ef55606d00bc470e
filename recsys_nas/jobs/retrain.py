"""Train one model from scratch on the training days, once a seed, and judge it on the test day.

Started by the controller under torchrun; writes only `<run>/retrain/<model>/seed=S/`. The found architecture, the full
supernet's network, random controls and the zoo go through here alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_prep.atomic import write_json
from embeddings.tables import table_rows
from recsys_nas.architecture_files import CONTROL, architecture_key, check_current
from recsys_nas.config import to_toml
from recsys_nas.cost import counted_flops, module_costs
from recsys_nas.jobs.assembly import Recipe, Run, assemble, read_json
from recsys_nas.jobs.environment import Ranks, process_group, run_job
from recsys_nas.jobs.networks import build_network
from recsys_nas.judged_days import check_judged_days, days_before, scored_days
from recsys_nas.model import InteractionArch
from recsys_nas.report.architecture_text import architecture_text
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.metrics import calibration_bins, judge, quality
from recsys_nas.training.optimizers import adam
from recsys_nas.training.retraining import RetrainConfig
from recsys_nas.training.roc import Roc
from recsys_nas.training.telemetry import Telemetry, as_code
from recsys_nas.training.trainer import LogLoss, Progress, Trainer, Validation, predict
from recsys_nas.zoo.catalogue import RUN_MODELS

PREDICTIONS = "predictions.npy"
"""Click probabilities float32 `[R]` of the scored days' rows, in their order; written by jobs of one rank."""


@dataclass(frozen=True)
class Scored:
    """A day, what a model trained on days before it predicted for its rows `[R]`, their labels `[R]`, and how it was trained."""

    day: int
    probabilities: Tensor
    labels: Tensor
    progress: Progress


def seeds_of(config: RetrainConfig, model: str) -> tuple[int, ...]:
    """All seeds, but the first alone for a random control: their spread is that of networks, not of seeds."""
    return config.seeds[:1] if CONTROL.fullmatch(model) else config.seeds


def retrain(run: Run, model: str, seed: int, ranks: Ranks) -> None:
    """One model and seed: train from the newest checkpoint, evaluate, write `result.json`; nothing is done when it is there.

    Raises ConfigError, before anything is trained, for days on which no AUC is defined, and for a result of another architecture.
    """
    folder = run.folder / "retrain" / model / f"seed={seed}"
    if (path := folder / "result.json").exists():
        check_current(run.folder, model, read_json(path), path)
        return
    check_judged_days(run.config, run.manifest)
    scored = []
    for day in scored_days(run.config):
        where = folder / f"day={day:02d}" if run.config.retrain.progressive else folder
        trainer = prepare(run, model, seed, ranks, where, days_before(run.config, day))
        scored.append(_train_and_score(run, trainer, model, seed, day, ranks))
    if ranks.is_first:
        _write(run, model, seed, folder, scored, keep_predictions=ranks.world_size == 1)


def _train_and_score(run: Run, trainer: Trainer, model: str, seed: int, day: int, ranks: Ranks) -> Scored:
    """Train to the end, then predict `day`; events go beside the trainer's checkpoints."""
    network = trainer.parts.tables.model.module.get_submodule("network")
    folder = trainer.checkpointer.folder.parent
    test = run.reader([day], ranks, run.config.retrain.batch_size, shuffle_seed=None)
    with Telemetry(folder, trainer.parts.reader.total_rows, trainer.progress.step, active=ranks.is_first) as telemetry:
        telemetry.text("config", as_code(to_toml(run.config)))
        telemetry.text("architecture", as_code(_described(network)))
        telemetry.settings(f"retrain {model} seed {seed}", _settings(run, model, seed, network))
        progress = trainer.train(telemetry)
        scored = Scored(day, *predict(trainer.parts.model, test, ranks.device), progress)
        judged, price = quality(scored.probabilities, scored.labels), costs(run, network)
        telemetry.scalars(progress.step, {f"test/{name}": getattr(judged, name) for name in ("auc", "logloss", "ne", "calibration")})
        telemetry.scalars(progress.step, {f"cost/{name}": price[name] for name in ("dense_flops", "lookup_bytes", "dense_params")})
    return scored


def _settings(run: Run, model: str, seed: int, network: nn.Module) -> dict[str, Any]:
    """What tells this job apart in TensorBoard's table."""
    known = {"architecture": network.architecture.key()} if isinstance(network, InteractionArch) else {}
    return {"model": model, "seed": seed, "learning_rate": run.config.retrain.learning_rate, **known}


def _described(network: nn.Module) -> str:
    return architecture_text(network.architecture) if isinstance(network, InteractionArch) else str(network)


def prepare(run: Run, model: str, seed: int, ranks: Ranks, folder: Path, days: Sequence[int]) -> Trainer:
    """A trainer of that model on `days`, at its newest checkpoint in `folder`."""
    settings = run.config.retrain
    torch.manual_seed(seed)
    network = build_network(run, model)
    by_rows = settings.shuffle == "rows"
    reader = run.reader(days, ranks, settings.batch_size, shuffle_seed=seed, epochs=settings.epochs, shuffle_rows=by_rows)
    validation = None
    if valid_days := run.config.data.validation:
        validation = Validation(run.reader(valid_days, ranks, settings.batch_size, shuffle_seed=None), settings.early_stopping)

    def optimizers(network: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"weights": adam(network.parameters(), settings.learning_rate, eps=settings.eps, weight_decay=settings.weight_decay)}

    return assemble(run, Recipe(network, CtrModel, optimizers, LogLoss(), settings, validation), reader, ranks, seed, folder)


def _write(run: Run, model: str, seed: int, folder: Path, scored: Sequence[Scored], keep_predictions: bool) -> None:
    probabilities, labels = (torch.cat([getattr(day, name) for day in scored]) for name in ("probabilities", "labels"))
    roc = Roc.of(probabilities, labels)
    measured = asdict(judge(roc))
    measured |= {"test_rows": measured.pop("rows"), "test_positives": measured.pop("positives")}
    which = {"format_version": 1, "model": model, "seed": seed, "architecture": architecture_key(run.folder, model)}
    record = which | measured | costs(run, build_network(run, model)) | _training(scored)
    if run.config.retrain.progressive:
        by_day = [(each.day, quality(each.probabilities, each.labels)) for each in scored]
        record["by_day"] = [{"day": day} | {name: getattr(q, name) for name in ("auc", "logloss", "ne", "rows")} for day, q in by_day]
    if keep_predictions:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / PREDICTIONS, probabilities.numpy().astype(np.float32))
    write_json(folder / "result.json", record | {"calibration_bins": [asdict(b) for b in calibration_bins(roc)]})


def costs(run: Run, network: nn.Module) -> dict[str, Any]:
    """What the network costs to serve: by formula where it is an Architecture, by torch's count where it is not."""
    lookup = run.lookup_cost()
    by_module: list[dict[str, Any]] = []
    if isinstance(network, InteractionArch):
        by_module = [asdict(cost) for cost in module_costs(network.architecture)]
    return {
        "dense_flops": sum(cost["flops"] for cost in by_module) or counted_flops(network, *run.sizes),
        "lookup_flops": lookup.flops,
        "lookup_bytes": lookup.bytes,
        "dense_params": sum(parameter.numel() for parameter in network.parameters()),
        "embedding_params": sum(table_rows(run.schema, run.config.embedding).values()) * run.config.embedding.dim,
        "cost_by_module": by_module,
    }


def _training(scored: Sequence[Scored]) -> dict[str, Any]:
    rows, seconds = (sum(getattr(day.progress, name) for day in scored) for name in ("rows", "train_seconds"))
    last = scored[-1].progress
    return {
        "train_rows": rows,
        "train_seconds": seconds,
        "rows_per_second": rows / seconds,
        "learning_curve": last.curve,
        "validations": last.validations,
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("run_folder", type=Path, help="with its config.toml")
    ask.add_argument("--model", required=True, help=f"one of {', '.join(RUN_MODELS)}, or of retrain.sizes, or random-NN")
    arguments = ask.parse_args()
    run = Run.open(arguments.run_folder)
    with run.staged(run.retrain_days) as run, process_group(run.collective_timeout) as ranks:
        for seed in seeds_of(run.config.retrain, arguments.model):
            retrain(run, arguments.model, seed, ranks)


if __name__ == "__main__":
    run_job(main)
