"""Verbs that are the steps of a run, one by one, in this process; `torchx run launch/search.py` does all of them as jobs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from data_prep.command_line import SUCCESS
from recsys_nas.search.trial_settings import StrategyName
from recsys_nas.verbs.verb import Verb, add_json, add_run, print_json, run_folder

STRATEGY_NAMES = get_args(StrategyName)


def _search_day_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--day", type=int, required=True, help="one of data.search_days")


def _search_day(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.search_day import search_day

    run = Run.open(run_folder(arguments.run))
    with run.staged([arguments.day]) as run, process_group() as ranks:
        search_day(run, arguments.day, ranks)
    return SUCCESS


def _aggregate_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_json(parser)


def _aggregate(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.records import read_record
    from recsys_nas.search.combine_days import combine_run

    run = run_folder(arguments.run)
    combine_run(run)
    if arguments.json:
        print_json(read_record(run / "alphas.json", (), "run it again"))
    else:
        print(f"wrote {run}/alphas.json and {run}/architecture.json")
    return SUCCESS


def _retrain_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--model", required=True, help="found, full_supernet, or a name of the zoo such as dcnv2")


def _retrain(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.retrain import retrain

    run = Run.open(run_folder(arguments.run))
    with run.staged(run.retrain_days) as run, process_group() as ranks:
        for seed in run.config.retrain.seeds:
            retrain(run, arguments.model, seed, ranks)
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

    config = load_config(arguments.config, arguments.set)
    path = config.run_folder.with_name(f"{config.name}-strategies.json")
    outcomes = []
    with process_group() as ranks:
        for outcome in compare_strategies(config, arguments.strategies, arguments.seeds, ranks):
            outcomes.append(outcome)
            write_outcomes(path, outcomes)
            if not arguments.json:
                print(f"{outcome.strategy}, seed {outcome.seed}: AUC {outcome.auc:.4f}, {outcome.search_seconds:.0f} s", flush=True)
    if arguments.json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        print(f"\n{table(outcomes)}\n\nwrote {path}")
    return SUCCESS


VERBS = (
    Verb("search-day", "search one day in this process", ("recsys-nas search-day runs/demo --day 3",), _search_day_options, _search_day),
    Verb(
        "aggregate",
        "derive one architecture from all searched days",
        ("recsys-nas aggregate runs/demo",),
        _aggregate_options,
        _aggregate,
    ),
    Verb(
        "retrain",
        "train and judge one model, all seeds, in this process",
        ("recsys-nas retrain runs/demo --model found",),
        _retrain_options,
        _retrain,
    ),
    Verb(
        "compare-strategies",
        "search with several strategies under one budget, in this process, and compare their networks",
        ("recsys-nas compare-strategies --config configs/demo.toml --strategies dnas random --seeds 0 1 2",),
        _compare_strategies_options,
        _compare_strategies,
    ),
)
