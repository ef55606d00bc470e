"""Search one day trial by trial: any strategy but `dnas`, on that day's rows, into `search.json`.

A search that was killed goes on from its journal of trials, and its supernet from its newest checkpoint.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json
from recsys_nas.config import ConfigError, to_toml
from recsys_nas.cost import dense_flops
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.day_bench import DayBench
from recsys_nas.jobs.environment import Ranks
from recsys_nas.search.day_results import searched_in
from recsys_nas.search.journal import Journal
from recsys_nas.search.loop import Search, Spent
from recsys_nas.search.strategies import STRATEGIES
from recsys_nas.search.strategy import Budget, SearchError, Strategy, Task, best
from recsys_nas.space import Architecture
from recsys_nas.training.telemetry import Telemetry

RESULT, JOURNAL = "search.json", "trials.jsonl"
FORMAT_VERSION = 1


def search_day_by_trials(run: Run, day: int, ranks: Ranks) -> None:
    """Search from where an earlier attempt stopped, then write `search.json`. Raises ConfigError, one line, when nothing is found."""
    folder, config = searched_in(run.folder, day), run.config
    began = time.process_time()
    task = _task(run, day)
    bench = DayBench(run, day, ranks, folder)
    journal = Journal(folder / JOURNAL, _search_id(run, day), active=ranks.is_first)
    try:
        watch = Watch(folder, task, ranks, resumed_at=len(journal.open()))
        watch.telemetry.text("config", f"```toml\n{to_toml(config)}\n```")
        strategy = STRATEGIES[config.search.strategy](task, config.trials)
        with closing(watch.telemetry):
            architecture, spent = Search(strategy, task, bench, journal, watch, _common_clock(ranks)).run()
    except SearchError as error:
        raise ConfigError(f"day {day}, search.strategy = {config.search.strategy!r}: {error}") from error
    if ranks.is_first:
        record = _record(run, day, architecture, spent)
        record |= {"cpu_seconds": time.process_time() - began, "summary": dict(strategy.summary())}
        write_json(folder / RESULT, record | {"trials": _trials(run, strategy, architecture, spent)})


def _task(run: Run, day: int) -> Task:
    trials = run.config.trials
    budget = Budget(trials.rows or run.manifest.day(day).rows, trials.seconds or math.inf)
    return Task(run.space(), budget, run.config.seed * 1000 + day, dense_flops, trials.max_flops)


def _search_id(run: Run, day: int) -> dict[str, Any]:
    """All that decides which trials a search makes."""
    config = run.config
    search = {name: getattr(config.search, name) for name in ("strategy", "batch_size", "max_rows", "learning_rate", "eps", "weight_decay")}
    settings = asdict(config.trials) | {"seconds": None}
    space = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config.space).items()}
    return {"day": day, "seed": config.seed, "search": search, "trials": settings, "space": space, "dim": config.embedding.dim}


@dataclass
class Watch:
    """Tells the controller and TensorBoard how the search goes, trial by trial."""

    folder: Path
    task: Task
    ranks: Ranks
    resumed_at: int

    def __post_init__(self) -> None:
        self.telemetry = Telemetry(self.folder, self.task.budget.rows, self.resumed_at, active=self.ranks.is_first)

    def __call__(self, spent: Spent) -> None:
        trial, step = spent.trials[-1], len(spent.trials)
        done = [other for other in spent.trials if other.proposal.fidelity == trial.proposal.fidelity and not other.failed]
        figures = {f"search/trial_{name}": value for name, value in trial.figures.items()}
        figures |= {"search/failed": float(bool(trial.failed)), "search/flops": float(self.task.price(trial.architecture))}
        if done:
            figures |= {f"search/best_{name}": value for name, value in best(done).figures.items()}
        self.telemetry.window.rows += trial.rows
        line = {name: trial.figures[name] for name in ("loss", "ne") if name in trial.figures}
        self.telemetry.record(step, spent.rows, line)
        self.telemetry.scalars(step, figures)


def _common_clock(ranks: Ranks) -> Any:
    """Seconds by the first rank's clock, so that all ranks stop after the same trial."""

    return lambda: ranks.of_first(time.monotonic())


def _record(run: Run, day: int, architecture: Architecture, spent: Spent) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "strategy": run.config.search.strategy,
        "day": day,
        "seed": run.config.seed,
        "rows": spent.rows,
        "seconds": spent.seconds,
        "architecture": architecture.to_json(),
        "key": architecture.key(),
    }


def _trials(run: Run, strategy: Strategy, chosen: Architecture, spent: Spent) -> list[dict[str, Any]]:
    """All trials. Only those judged as most were are `compared` by their values; the best of those judged as the chosen one
    was are `finalists`."""
    done = [trial for trial in spent.trials if not trial.failed]
    of_chosen = next(trial.proposal.fidelity for trial in reversed(done) if trial.architecture == chosen)
    ranked = sorted((t for t in done if t.proposal.fidelity == of_chosen), key=lambda t: (t.architecture != chosen, strategy.value(t)))
    finalists = {trial.architecture for trial in ranked[: max(1, run.config.trials.finalists)]}
    most = Counter(trial.proposal.fidelity for trial in done).most_common(1)[0][0]
    return [
        trial.to_json()
        | {
            "flops": dense_flops(trial.architecture),
            "value": None if trial.failed else strategy.value(trial),
            "compared": not trial.failed and trial.proposal.fidelity == most,
            "finalist": trial.architecture in finalists and trial.proposal.fidelity == of_chosen,
        }
        for trial in spent.trials
    ]
