"""Train one model from scratch on the training days, once a seed, and judge it on the test day.

Started by the controller under torchrun; writes only `<run>/retrain/<model>/seed=S/`. The found architecture, the full
supernet's network and the zoo go through here alike.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_prep.atomic import write_json
from data_prep.command_line import did_you_mean
from embeddings.tables import table_rows
from recsys_nas.config import ConfigError, parse_days, to_toml
from recsys_nas.cost import counted_flops, module_costs
from recsys_nas.jobs.assembly import Recipe, Run, assemble
from recsys_nas.jobs.environment import Ranks, process_group, run_job
from recsys_nas.model import InteractionArch
from recsys_nas.report.architecture_text import architecture_text
from recsys_nas.space import load_architecture
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.metrics import calibration_bins, judge
from recsys_nas.training.optimizers import adam
from recsys_nas.training.roc import Roc
from recsys_nas.training.telemetry import Telemetry, as_code
from recsys_nas.training.trainer import LogLoss, Progress, predict
from recsys_nas.zoo.catalogue import FOUND, FULL_SUPERNET, RUN_MODELS
from recsys_nas.zoo.networks import NETWORKS


def build_network(run: Run, model: str) -> nn.Module:
    """The network of that name, with fresh weights. Raises ConfigError for an unknown name or an unusable architecture."""
    if model in NETWORKS:
        return NETWORKS[model](*run.sizes)
    if model == FULL_SUPERNET:
        return InteractionArch(run.space().full())
    if model != FOUND:
        raise ConfigError(f"no model is named {model!r}; {did_you_mean(model, RUN_MODELS)}")
    try:
        architecture = load_architecture(run.folder / "architecture.json")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    sizes = (architecture.num_dense, architecture.num_sparse, architecture.embedding_dim)
    if sizes != run.sizes:
        raise ConfigError(f"architecture.json is for (dense, sparse, embedding dim) = {sizes}, this run has {run.sizes}")
    return InteractionArch(architecture)


def retrain(run: Run, model: str, seed: int, ranks: Ranks) -> None:
    """One model and seed: train from the newest checkpoint, evaluate, write `result.json`; nothing is done when it is there."""
    folder = run.folder / "retrain" / model / f"seed={seed}"
    if (folder / "result.json").exists():
        return
    settings = run.config.retrain
    torch.manual_seed(seed)
    network = build_network(run, model)
    days = parse_days(run.config.data.train_days, "data.train_days")
    reader = run.reader(days, ranks, settings.batch_size, shuffle_seed=seed, epochs=settings.epochs)

    def optimizers(network: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"weights": adam(network.parameters(), settings.learning_rate, eps=settings.eps, weight_decay=settings.weight_decay)}

    trainer = assemble(run, Recipe(network, CtrModel, optimizers, LogLoss(), settings), reader, ranks, seed, folder)
    test = run.reader([run.config.data.test_day], ranks, settings.batch_size, shuffle_seed=None)
    with Telemetry(folder, reader.total_rows, trainer.progress.step, active=ranks.is_first) as telemetry:
        telemetry.text("config", as_code(to_toml(run.config)))
        telemetry.text("architecture", as_code(_described(network)))
        telemetry.settings(f"retrain {model} seed {seed}", _settings(run, model, seed, network))
        progress = trainer.train(telemetry)
        roc = Roc.of(*predict(trainer.parts.model, test, ranks.device))
        judged, costs = judge(roc), _costs(run, network)
        telemetry.scalars(progress.step, {f"test/{name}": getattr(judged, name) for name in ("auc", "logloss", "ne", "calibration")})
        telemetry.scalars(progress.step, {f"cost/{name}": costs[name] for name in ("dense_flops", "lookup_bytes", "dense_params")})
    if ranks.is_first:
        measured = asdict(judged)
        measured |= {"test_rows": measured.pop("rows"), "test_positives": measured.pop("positives")}
        bins = [asdict(b) for b in calibration_bins(roc)]
        record = {"format_version": 1, "model": model, "seed": seed} | measured | costs | _training(progress)
        write_json(folder / "result.json", record | {"calibration_bins": bins})


def _settings(run: Run, model: str, seed: int, network: nn.Module) -> dict[str, Any]:
    """What tells this job apart in TensorBoard's table."""
    known = {"architecture": network.architecture.key()} if isinstance(network, InteractionArch) else {}
    return {"model": model, "seed": seed, "learning_rate": run.config.retrain.learning_rate, **known}


def _described(network: nn.Module) -> str:
    return architecture_text(network.architecture) if isinstance(network, InteractionArch) else str(network)


def _costs(run: Run, network: nn.Module) -> dict[str, Any]:
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


def _training(progress: Progress) -> dict[str, Any]:
    return {
        "train_rows": progress.rows,
        "train_seconds": progress.train_seconds,
        "rows_per_second": progress.rows / progress.train_seconds,
        "learning_curve": progress.curve,
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("run_folder", type=Path, help="with its config.toml")
    ask.add_argument("--model", required=True, help=f"one of {', '.join(RUN_MODELS)}")
    arguments = ask.parse_args()
    run = Run.open(arguments.run_folder)
    with run.staged(run.retrain_days) as run, process_group(run.collective_timeout) as ranks:
        for seed in run.config.retrain.seeds:
            retrain(run, arguments.model, seed, ranks)


if __name__ == "__main__":
    run_job(main)
