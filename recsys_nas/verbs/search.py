"""Verbs that are the steps of a run, one by one, in this process; `torchx run launch/search.py` does all of them as jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from data_prep.atomic import write_text
from data_prep.command_line import SUCCESS, folder
from recsys_nas.search.trial_settings import StrategyName
from recsys_nas.verbs.verb import Verb, add_json, add_run, print_json, run_folder

if TYPE_CHECKING:
    from recsys_nas.config import Config

STRATEGY_NAMES = get_args(StrategyName)


def _search_day_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--day", type=int, help="one of data.search_days")
    which.add_argument("--sequential", action="store_true", help="all of them in order in one search, into RUN/sequential: a control")


def _search_day(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.search_day import search_day, search_in_sequence

    run = Run.open(run_folder(arguments.run))
    days = run.search_days if arguments.sequential else (arguments.day,)
    _check_searched(days, run.config, "--day")
    with run.staged(days) as run, process_group() as ranks:
        if arguments.sequential:
            search_in_sequence(run, ranks)
        else:
            search_day(run, arguments.day, ranks)
    return SUCCESS


def _check_searched(days: Sequence[int], config: Config, where: str) -> None:
    """Raises ValueError for a day that is none of data.search_days: the network must not have seen the clicks that judge it."""
    from recsys_nas.config import parse_days

    if outside := set(days) - set(parse_days(config.data.search_days, "data.search_days")):
        raise ValueError(f"{where}: day {min(outside)} is not one of data.search_days = {config.data.search_days!r}")


def _aggregate_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--days", help="those to join, such as 0-4 or 0,2,5 (default: all of data.search_days)")
    parser.add_argument("--out", type=folder, help="where to write alphas.json and architecture.json (default: the run's folder)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="with --out: try another rule")
    add_json(parser)


def _aggregate(arguments: argparse.Namespace) -> int:
    from recsys_nas.config import load_config, parse_days
    from recsys_nas.report.aggregate_text import aggregate_text
    from recsys_nas.report.records import read_record
    from recsys_nas.search.aggregate import DECOY_SURVIVED
    from recsys_nas.search.combine_days import combine_run

    run = run_folder(arguments.run)
    out = arguments.out or run
    if arguments.set and out == run:
        raise ValueError("--set goes with --out: what lies in a run's folder is by the run's own config")
    config = load_config(run / "config.toml", arguments.set)
    days = parse_days(arguments.days, "--days") if arguments.days is not None else None
    _check_searched(days or (), config, "--days")
    valid = combine_run(run, days, config, out)
    told = read_record(out / "alphas.json", (), "run it again")
    if arguments.json:
        print_json(told)
    else:
        print(f"{aggregate_text(told)}\nwrote {out}/alphas.json and {out}/architecture.json")
    if not valid:
        print(f"warning: {DECOY_SURVIVED}", file=sys.stderr)
    return SUCCESS


def _refine_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--max-flops", type=int, help="dense FLOPs an example that the network may have (default: search.target_flops)")
    parser.add_argument(
        "--judge-days", default="", help="search days to judge networks on, such as 2-4 (default: data.valid_days, or the last)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101, 102, 103], help="a rung of halving each (default: 100 to 103)")
    parser.add_argument("--rounds", type=int, default=3, help="changes of one module each, at most (default: 3)")
    parser.add_argument("--tolerance", type=float, default=0.0, metavar="AUC", help="AUC that may be given for fewer FLOPs (default: 0)")
    add_json(parser)


def _refine(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.refine import days_of, refine, refine_text

    run = Run.open(run_folder(arguments.run))
    max_flops = arguments.max_flops or run.config.search.target_flops
    if not max_flops:
        raise ValueError("--max-flops is needed where search.target_flops is 0: a network that may grow needs a limit")
    if arguments.rounds < 1:
        raise ValueError(f"--rounds {arguments.rounds}: must be 1 or more")
    _check_seeds(arguments.seeds)
    if not 0 <= arguments.tolerance < 1:
        raise ValueError(f"--tolerance {arguments.tolerance}: a difference of AUC, such as 0.0002; must lie in [0, 1)")
    with run.staged(days_of(run, arguments.judge_days)) as run, process_group() as ranks:
        rounds = refine(run, max_flops, arguments.judge_days, arguments.seeds, arguments.rounds, ranks, arguments.tolerance)
    if arguments.json:
        print_json([[candidate.to_json() for candidate in candidates] for candidates in rounds])
    else:
        print(f"{refine_text(rounds)}\nwrote {run.folder}/refine.json and {run.folder}/refine/architecture.json; train it as model refined")
    return SUCCESS


def _check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError for one that is named twice, which would narrow every interval, or cannot be."""
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise ValueError("--seeds must be 0 or more, each named once")


def _retrain_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--model", required=True, help="found, refined, full_supernet, random-NN, or a name of the zoo such as dcnv2")


def _retrain(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.retrain import retrain, seeds_of
    from recsys_nas.zoo.catalogue import FOUND, REFINED

    run = Run.open(run_folder(arguments.run))
    with run.staged(run.retrain_days) as run, process_group() as ranks:
        for seed in seeds_of(run.config.retrain, arguments.model):
            retrain(run, arguments.model, seed, ranks)
    if arguments.model not in (FOUND, REFINED, *run.config.retrain.models, *run.config.retrain.controls):
        print(f"{arguments.model} is none of retrain.models, so `recsys-nas compare` leaves it out", file=sys.stderr)
    return SUCCESS


def _pareto_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    prices = parser.add_mutually_exclusive_group(required=True)
    prices.add_argument("--targets", nargs="+", type=int, metavar="FLOPS", help="dense FLOPs an example to search for, each in turn")
    prices.add_argument("--cost-weights", nargs="+", type=float, metavar="WEIGHT", help="weights of the cost in the loss, each in turn")
    add_json(parser)


def _pareto(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.pareto import days_of, sweep, sweep_text

    if min(arguments.targets or [1]) < 1:
        raise ValueError(f"--targets {min(arguments.targets)}: dense FLOPs, at least 1")
    run = Run.open(run_folder(arguments.run))
    prices = [f"search.target_flops={flops}" for flops in arguments.targets or ()]
    prices += [f"search.cost_weight={weight}" for weight in arguments.cost_weights or ()]
    with run.staged(days_of(run)) as run, process_group() as ranks:
        points = sweep(run, prices, ranks)
    print_json([vars(point) for point in points]) if arguments.json else print(sweep_text(points))
    return SUCCESS


def _compare_strategies_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="the experiment, a TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a value of the config")
    parser.add_argument("--strategies", nargs="+", default=STRATEGY_NAMES, choices=STRATEGY_NAMES, help="default: all of them")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of search and retraining (default: 0 1 2)")
    add_json(parser)


def _compare_strategies(arguments: argparse.Namespace) -> int:
    from recsys_nas.config import load_config
    from recsys_nas.jobs.compare_strategies import compare_strategies, table, write_outcomes
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.report.strategies_figure import strategies_svg

    _check_seeds(arguments.seeds)
    if len(set(arguments.strategies)) != len(arguments.strategies):
        raise ValueError("--strategies must each be named once")
    config = load_config(arguments.config, arguments.set)
    path = config.run_folder.with_name(f"{config.name}-strategies.json")
    outcomes = []
    with process_group() as ranks:
        for outcome in compare_strategies(config, arguments.strategies, arguments.seeds, ranks):
            outcomes.append(outcome)
            write_outcomes(path, outcomes)
            write_text(path.with_suffix(".svg"), strategies_svg([asdict(outcome) for outcome in outcomes]))
            if not arguments.json:
                print(f"{outcome.strategy}, seed {outcome.seed}: AUC {outcome.auc:.4f}, {outcome.search_seconds:.0f} s", flush=True)
    if arguments.json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        print(f"\n{table(outcomes)}\n\nwrote {path} and {path.with_suffix('.svg').name}")
    return SUCCESS


VERBS = (
    Verb(
        "search-day",
        "search one day in this process",
        ("recsys-nas search-day runs/demo --day 3", "recsys-nas search-day runs/demo --sequential"),
        _search_day_options,
        _search_day,
    ),
    Verb(
        "aggregate",
        "derive one architecture from all searched days",
        (
            "recsys-nas aggregate runs/demo",
            "recsys-nas aggregate runs/demo --days 0-2 --set search.aggregation=majority --out runs/demo/majority",
        ),
        _aggregate_options,
        _aggregate,
    ),
    Verb(
        "refine",
        "add and drop modules of the found network, one by one, as long as trainings from scratch say that it gets better",
        ("recsys-nas refine runs/demo --max-flops 150000", "recsys-nas refine runs/demo --judge-days 2-4 --seeds 7 8 9 --tolerance 0.0002"),
        _refine_options,
        _refine,
    ),
    Verb(
        "retrain",
        "train and judge one model, all seeds, in this process",
        ("recsys-nas retrain runs/demo --model found",),
        _retrain_options,
        _retrain,
    ),
    Verb(
        "pareto",
        "search again under other prices, in this process, and show AUC against FLOPs beside the zoo and random networks",
        ("recsys-nas pareto runs/demo --targets 50000 100000 200000", "recsys-nas pareto runs/demo --cost-weights 3e-3 1e-2 3e-2"),
        _pareto_options,
        _pareto,
    ),
    Verb(
        "compare-strategies",
        "search with several strategies under one budget, in this process, and compare their networks",
        ("recsys-nas compare-strategies --config configs/demo.toml --strategies dnas random --seeds 0 1 2",),
        _compare_strategies_options,
        _compare_strategies,
    ),
)
