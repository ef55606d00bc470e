"""Searches the same days with several strategies under one budget, trains each one's network alike, and sets the results side by side.

Each search is a run folder of its own, `<output>/<name>-<strategy>-seed=<seed>`, and goes on where it was cut off.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data_prep.atomic import write_json, write_text
from recsys_nas.config import Config, load_config, parse_days, to_toml
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.jobs.search_day import search_day
from recsys_nas.report.intervals import half_width95
from recsys_nas.report.records import FOUND, read_record
from recsys_nas.search.aggregate import DECOY_SURVIVED
from recsys_nas.search.combine_days import combine_run
from recsys_nas.search.day_results import day_result
from recsys_nas.search.trial_settings import StrategyName

FIGURES = ("auc", "logloss", "dense_flops", "search_rows", "search_seconds", "search_cpu_seconds")


@dataclass(frozen=True)
class Outcome:
    """Of one search: the test day's figures of its network, trained from scratch, and what the search took over all its days.

    `search_cpu_seconds`: of the processes that ended the days' searches; what a search killed before had used is not in it.
    """

    strategy: str
    seed: int
    auc: float
    logloss: float
    dense_flops: float
    search_rows: float
    search_seconds: float
    search_cpu_seconds: float


def compare_strategies(config: Config, strategies: Sequence[StrategyName], seeds: Sequence[int], ranks: Ranks) -> Iterator[Outcome]:
    """One outcome a strategy and seed, as they are done. Raises ConfigError, and where a run folder is of another config."""
    for strategy in strategies:
        for seed in seeds:
            yield _outcome(_run_of(config, strategy, seed), strategy, seed, ranks)


def _run_of(config: Config, strategy: StrategyName, seed: int) -> Run:
    searched = replace(
        config,
        name=f"{config.name}-{strategy}-seed={seed}",
        seed=seed,
        search=replace(config.search, strategy=strategy),
        retrain=replace(config.retrain, models=(), seeds=(seed,)),
    )
    folder = searched.run_folder
    path = folder / "config.toml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, to_toml(searched))
    elif load_config(path) != searched:
        raise ValueError(f"{path} is of another config; remove {folder} or give the config another name")
    return Run.open(folder)


def _outcome(run: Run, strategy: StrategyName, seed: int, ranks: Ranks) -> Outcome:
    days = parse_days(run.config.data.search_days, "data.search_days")
    with run.staged(sorted({*days, *run.retrain_days})) as here:
        for day in days:
            search_day(here, day, ranks)
        if not combine_run(run.folder):
            print(f"warning: {strategy}, seed {seed}: {DECOY_SURVIVED}", file=sys.stderr, flush=True)
        retrain(here, FOUND, seed, ranks)
    found = read_record(run.folder / "retrain" / FOUND / f"seed={seed}" / "result.json", ("auc", "logloss", "dense_flops"), "run it again")
    paths = [day_result(run.folder, day, run.config.search.day_result) for day in days]
    records = [read_record(path, ("rows", "seconds", "cpu_seconds"), "run it again") for path in paths]
    spent = [sum(record[name] for record in records) for name in ("rows", "seconds", "cpu_seconds")]
    return Outcome(strategy, seed, found["auc"], found["logloss"], found["dense_flops"], *spent)


def table(outcomes: Sequence[Outcome]) -> str:
    """Means over seeds by strategy, the best AUC first; with 95 % half-widths of AUC where there are several seeds."""
    lines = [f"{'strategy':<13} {'AUC':>17} {'log loss':>9} {'dense FLOPs':>12} {'rows':>11} {'seconds':>8} {'of CPU':>8} {'seeds':>5}"]
    by_name = {outcome.strategy: [other for other in outcomes if other.strategy == outcome.strategy] for outcome in outcomes}
    for name, group in sorted(by_name.items(), key=lambda item: -statistics.fmean(outcome.auc for outcome in item[1])):
        auc, logloss, flops, rows, seconds, cpu = (statistics.fmean(getattr(outcome, figure) for outcome in group) for figure in FIGURES)
        width = half_width95([outcome.auc for outcome in group])
        spread = f"{auc:.4f}" if width is None else f"{auc:.4f} +- {width:.4f}"
        values = f"{spread:>17} {logloss:>9.4f} {flops:>12,.0f} {rows:>11,.0f} {seconds:>8.1f} {cpu:>8.1f}"
        lines.append(f"{name:<13} {values} {len(group):>5}")
    return "\n".join(lines)


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    write_json(path, {"format_version": 1, "outcomes": [asdict(outcome) for outcome in outcomes]})
