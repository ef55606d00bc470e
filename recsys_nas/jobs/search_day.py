"""Search one day: train the gated supernet over the day's rows and write where its gates ended, or search by another strategy.

Started by the controller under torchrun; reads only its day's shards and writes only `<run>/days/day=NN/`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data_prep.atomic import write_json
from recsys_nas.config import ConfigError, to_toml
from recsys_nas.cost import module_costs
from recsys_nas.jobs.assembly import Recipe, Run, assemble
from recsys_nas.jobs.environment import Ranks, process_group, run_job
from recsys_nas.jobs.search_trials import search_day_by_trials
from recsys_nas.report.architecture_text import architecture_text
from recsys_nas.search.aggregate import SEQUENTIAL, derive_alone, derived
from recsys_nas.search.day_results import note_settings, searched_in
from recsys_nas.search.decisions import NEVER, DecisionRules
from recsys_nas.search.discretise import discretisation
from recsys_nas.search.dnas import GatedNetwork, Gating
from recsys_nas.search.objective import CostAware, Price
from recsys_nas.search_config import SearchConfig
from recsys_nas.training.ctr_model import SearchModel
from recsys_nas.training.optimizers import adam
from recsys_nas.training.reader import HeldOut, ShardReader
from recsys_nas.training.telemetry import Telemetry, as_code
from recsys_nas.training.trainer import Progress


def search_day(run: Run, day: int, ranks: Ranks) -> None:
    """Train from the newest checkpoint to the day's end, or until the gates have settled, then write `alphas.json`.

    Nothing is done when that is there. Another strategy than `dnas` writes `search.json` (`recsys_nas.jobs.search_trials`).
    """
    folder = searched_in(run.folder, day)
    if (folder / run.config.search.day_result).exists():
        return
    if ranks.is_first:
        note_settings(run.folder, day, run.config, run.manifest)
    if run.config.search.strategy != "dnas":
        search_day_by_trials(run.searching(), day, ranks)
        return
    _search(run, [day], folder, ranks)


def search_in_sequence(run: Run, ranks: Ranks) -> None:
    """The control: one search over all days in order, written to `<run>/sequential/` as that of a day is to its folder.

    Its `alphas.json` has `days` in place of `day`; `architecture.json` is what it alone would derive. Raises ConfigError for
    another strategy than `dnas`.
    """
    if run.config.search.strategy != "dnas":
        raise ConfigError(f"search.strategy = {run.config.search.strategy!r}: a search over all days in order is there for 'dnas' only")
    folder = run.folder / SEQUENTIAL
    _search(run, run.search_days, folder, ranks)
    if ranks.is_first:
        derive_alone(run.config, run.space(), folder)


def _search(run: Run, days: Sequence[int], folder: Path, ranks: Ranks) -> None:
    if (folder / "alphas.json").exists():
        return
    run = run.searching()
    config = run.config
    began = Stopwatch()
    discretisation(run.space(), config.search).check_target()
    torch.manual_seed(config.seed)
    seed = config.seed * 1000 + days[0]
    reader = _reader(run, days, ranks, seed)
    network = GatedNetwork(run.space(), run.lookup_cost().flops, _gating(config.search, len(reader)), seed)
    trainer = assemble(run, _recipe(run, network), reader, ranks, config.seed, folder)
    with Telemetry(folder, reader.total_rows, trainer.progress.step, active=ranks.is_first) as telemetry:
        telemetry.text("config", as_code(to_toml(config)))
        telemetry.settings(f"search {folder.name}", _settings(run, days))
        progress = trainer.train(telemetry)
        telemetry.text("architecture", as_code(_alone(run, network)))
    if ranks.is_first:
        which = {"day": days[0]} if len(days) == 1 else {"days": list(days)}
        record = which | _record(run, network, progress) | {"rows_of_day": reader.total_rows} | began.read(trainer.earlier_seconds)
        write_json(folder / "alphas.json", record)


def _reader(run: Run, days: Sequence[int], ranks: Ranks, seed: int) -> ShardReader:
    """Raises ConfigError. In one pass no two steps share a row; in several, what moves the gates needs rows of its own."""
    search = run.config.search
    of_steps = {"shuffle_rows": search.shuffle == "rows", "days_in_order": True}
    reader = run.reader(days, ranks, search.batch_size, seed, search.epochs, **of_steps)
    if search.epochs == 1 or search.levels == "single":
        return reader
    if len(days) > 1:
        raise ConfigError(
            "search.levels = 'alternating' over several passes holds out rows of one day; there is no sequential search by it"
        )
    gating = _gating(search, len(reader))
    turns = np.array([not gating.moves(step)[0] for step in range(len(reader))])
    rows = round(search.alpha_steps_share * run.manifest.day(days[0]).rows)
    return run.reader(days, ranks, search.batch_size, seed, held_out=HeldOut(rows, turns), **of_steps)


def _settings(run: Run, days: Sequence[int]) -> dict[str, Any]:
    """What tells this job apart in TensorBoard's table."""
    search = run.config.search
    return {"day": days[0], "seed": run.config.seed, "learning_rate": search.learning_rate, "cost_weight": search.cost_weight}


def _alone(run: Run, network: GatedNetwork) -> str:
    """What this search alone would derive."""
    by_day = network.probabilities().detach().double().cpu().numpy()[None, : len(network.space.gates)]
    kept = discretisation(network.space, run.config.search).keep(by_day, [0])
    return f"what this search alone would derive\n\n{architecture_text(derived(network.space, kept))}"


def _gating(search: SearchConfig, steps: int) -> Gating:
    """The settings of the gates for a search of so many steps; shares of the schedule become steps."""
    steps = min(steps, search.schedule_steps or steps)
    rules = DecisionRules(
        search.removal_bound,
        max(1, round(search.removal_share * steps)) if search.removal_bound else 0,
        round(search.settle_share * steps),
        search.settle_tolerance,
    )
    return Gating(
        search.temperature,
        search.final_temperature,
        search.noise,
        steps,
        int(search.warmup_share * steps),
        search.alpha_steps_share if search.levels == "alternating" else 0.0,
        search.decoys,
        search.dropout,
        rules,
    )


def _recipe(run: Run, network: GatedNetwork) -> Recipe:
    search = run.config.search

    def optimizers(network: nn.Module) -> dict[str, torch.optim.Optimizer]:
        assert isinstance(network, GatedNetwork)
        return {
            "weights": adam(network.weights(), search.learning_rate, eps=search.eps, weight_decay=search.weight_decay),
            "alphas": adam([network.alphas], search.alpha_learning_rate, search.alpha_betas, search.alpha_eps, search.alpha_weight_decay),
        }

    objective = CostAware(network, Price(search.cost_weight, search.target_flops, search.target_weight))
    return Recipe(network, SearchModel, optimizers, objective, search)


def _record(run: Run, network: GatedNetwork, progress: Progress) -> dict[str, Any]:
    full = {(cost.block, cost.module): cost.flops / network.full_flops for cost in module_costs(network.space.full())}
    with torch.no_grad():
        expected, share = float(network.expected_flops()[0]), float(network.expected_cost_share())
    batch, num_real = run.config.search.batch_size, len(network.space.gates)
    gates = [
        {
            "block": gate.block,
            "module": gate.module,
            "alpha": alpha,
            "probability": probability,
            "cost_share": full[gate.block, gate.module],
            "left_at_rows": left_at * batch if left_at != NEVER else None,
        }
        for gate, alpha, probability, left_at in zip(
            network.space.gates + network.decoys.gates,
            network.alphas.detach().tolist(),
            network.probabilities().detach().tolist(),
            network.decisions.left_at.tolist(),
            strict=True,
        )
    ]
    return {
        "format_version": 1,
        "seed": run.config.seed,
        "rows": progress.rows,
        "steps": progress.step,
        "settled_at_rows": progress.rows if network.decisions.is_settled else None,
        "train_seconds": progress.train_seconds,
        "rows_per_second": progress.rows / progress.train_seconds,
        "train_loss": progress.mean_loss,
        "train_ne": progress.mean_ne,
        "expected_cost_share": share,
        "expected_dense_flops": expected,
        "target_flops": run.config.search.target_flops or None,
        "gates": gates[:num_real],
        "decoys": gates[num_real:],
        "learning_curve": progress.curve,
    }


class Stopwatch:
    """Seconds on the clock and of the processor since it was made, of this process; on the clock those of earlier attempts are added."""

    def __init__(self) -> None:
        self._clock, self._cpu = time.monotonic(), time.process_time()

    def read(self, earlier: float) -> dict[str, float]:
        return {"seconds": earlier + time.monotonic() - self._clock, "cpu_seconds": time.process_time() - self._cpu}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("run_folder", type=Path, help="with its config.toml")
    which = ask.add_mutually_exclusive_group(required=True)
    which.add_argument("--day", type=int)
    which.add_argument("--sequential", action="store_true", help="all days in order, as a control")
    arguments = ask.parse_args()
    run = Run.open(arguments.run_folder)
    days = run.search_days if arguments.sequential else (arguments.day,)
    with run.staged(days) as run, process_group(run.collective_timeout) as ranks:
        if arguments.sequential:
            search_in_sequence(run, ranks)
        else:
            search_day(run, arguments.day, ranks)


if __name__ == "__main__":
    run_job(main)
