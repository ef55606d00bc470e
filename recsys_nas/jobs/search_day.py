"""Search one day: train the gated supernet over the day's rows once and write where its gates ended, or search by another strategy.

Started by the controller under torchrun; reads only its day's shards and writes only `<run>/days/day=NN/`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_prep.atomic import write_json
from recsys_nas.config import to_toml
from recsys_nas.cost import module_costs
from recsys_nas.jobs.assembly import Recipe, Run, assemble
from recsys_nas.jobs.environment import Ranks, process_group, run_job
from recsys_nas.jobs.search_trials import search_day_by_trials
from recsys_nas.report.architecture_text import architecture_text
from recsys_nas.search.aggregate import derive, judge
from recsys_nas.search.dnas import GatedNetwork
from recsys_nas.training.ctr_model import SearchModel
from recsys_nas.training.optimizers import adam
from recsys_nas.training.reader import ShardReader
from recsys_nas.training.telemetry import Telemetry, as_code
from recsys_nas.training.trainer import Progress


class CostAware:
    """Log loss plus the price of the expected serving cost; the gates rest while the weights warm up."""

    def __init__(self, network: GatedNetwork, cost_weight: float, warmup_steps: int) -> None:
        self.network = network
        self.cost_weight = cost_weight
        self.warmup_steps = warmup_steps

    def penalty(self) -> Tensor:
        return self.cost_weight * self.network.expected_cost_share()

    def before_update(self, step: int) -> None:
        if step < self.warmup_steps:
            self.network.alphas.grad = None

    def figures(self) -> Mapping[str, float]:
        with torch.no_grad():
            gates_of = self.network.space.gates
            gates = {f"gates/{gate}": float(p) for gate, p in self.network.probabilities().items()}
            alphas = {f"alphas/{gate}": float(alpha) for gate, alpha in zip(gates_of, self.network.alphas, strict=True)}
            share = float(self.network.expected_cost_share())
            flops = share * self.network.full_flops - self.network.lookup_flops
            return gates | alphas | {"search/expected_cost_share": share, "search/expected_dense_flops": flops}


def search_day(run: Run, day: int, ranks: Ranks) -> None:
    """Train from the newest checkpoint to the day's end, then write `alphas.json`; nothing is done when it is there.

    Another strategy than `dnas` writes `search.json` (`recsys_nas.jobs.search_trials`).
    """
    run = run.searching()
    folder, config = run.folder / "days" / f"day={day:02d}", run.config
    if (folder / config.search.day_result).exists():
        return
    if config.search.strategy != "dnas":
        search_day_by_trials(run, day, ranks)
        return
    began = time.monotonic()
    torch.manual_seed(config.seed)
    network = GatedNetwork(run.space(), run.lookup_cost().flops, config.search.temperature, config.seed * 1000 + day)
    reader = run.reader([day], ranks, config.search.batch_size, shuffle_seed=config.seed * 1000 + day)
    trainer = assemble(run, _recipe(run, network, reader), reader, ranks, config.seed, folder)
    with Telemetry(folder, reader.total_rows, trainer.progress.step, active=ranks.is_first) as telemetry:
        telemetry.text("config", as_code(to_toml(config)))
        telemetry.settings(f"search day {day}", _settings(run, day))
        progress = trainer.train(telemetry)
        telemetry.text("architecture", as_code(_alone(run, network)))
    if ranks.is_first:
        record = _record(run, network, progress) | {"day": day, "seconds": time.monotonic() - began}
        write_json(folder / "alphas.json", record)


def _settings(run: Run, day: int) -> dict[str, Any]:
    """What tells this job apart in TensorBoard's table."""
    search = run.config.search
    return {"day": day, "seed": run.config.seed, "learning_rate": search.learning_rate, "cost_weight": search.cost_weight}


def _alone(run: Run, network: GatedNetwork) -> str:
    """What this day alone would derive."""
    with torch.no_grad():
        by_day = np.array([[float(p) for p in network.probabilities().values()]])
    derived = derive(network.space, judge(network.space.gates, by_day, run.config.search.threshold))
    return f"what this day alone would derive\n\n{architecture_text(derived)}"


def _recipe(run: Run, network: GatedNetwork, reader: ShardReader) -> Recipe:
    search = run.config.search

    def optimizers(network: nn.Module) -> dict[str, torch.optim.Optimizer]:
        assert isinstance(network, GatedNetwork)
        return {
            "weights": adam(network.interaction.parameters(), search.learning_rate, eps=search.eps, weight_decay=search.weight_decay),
            "alphas": adam([network.alphas], search.alpha_learning_rate, search.alpha_betas, search.alpha_eps, search.alpha_weight_decay),
        }

    objective = CostAware(network, search.cost_weight, int(search.warmup_share * len(reader)))
    return Recipe(network, SearchModel, optimizers, objective, search)


def _record(run: Run, network: GatedNetwork, progress: Progress) -> dict[str, Any]:
    full = {(cost.block, cost.module): cost.flops / network.full_flops for cost in module_costs(network.space.full())}
    with torch.no_grad():
        probabilities = {gate: float(p) for gate, p in network.probabilities().items()}
        expected = float(network.expected_cost_share())
    gates = [
        {
            "block": gate.block,
            "module": gate.module,
            "alpha": float(alpha),
            "probability": probabilities[gate],
            "cost_share": full[gate.block, gate.module],
        }
        for gate, alpha in zip(network.space.gates, network.alphas.detach(), strict=True)
    ]
    return {
        "format_version": 1,
        "seed": run.config.seed,
        "rows": progress.rows,
        "steps": progress.step,
        "train_seconds": progress.train_seconds,
        "rows_per_second": progress.rows / progress.train_seconds,
        "train_loss": progress.mean_loss,
        "train_ne": progress.mean_ne,
        "expected_cost_share": expected,
        "gates": gates,
        "learning_curve": progress.curve,
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("run_folder", type=Path, help="with its config.toml")
    ask.add_argument("--day", type=int, required=True)
    arguments = ask.parse_args()
    run = Run.open(arguments.run_folder)
    with run.staged([arguments.day]) as run, process_group(run.collective_timeout) as ranks:
        search_day(run, arguments.day, ranks)


if __name__ == "__main__":
    run_job(main)
