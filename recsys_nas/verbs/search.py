"""Verbs that are the steps of a run, one by one, in this process; `torchx run launch/search.py` does all of them as jobs."""

from __future__ import annotations

import argparse

from data_prep.command_line import SUCCESS
from recsys_nas.verbs.verb import Verb, add_json, add_run, print_json, run_folder


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
    parser.add_argument("--model", required=True, help="found, full_supernet, random-NN, or a name of the zoo such as dcnv2")


def _retrain(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.retrain import retrain, seeds_of

    run = Run.open(run_folder(arguments.run))
    with run.staged(run.retrain_days) as run, process_group() as ranks:
        for seed in seeds_of(run.config.retrain, arguments.model):
            retrain(run, arguments.model, seed, ranks)
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

    run = Run.open(run_folder(arguments.run))
    prices = [f"search.target_flops={flops}" for flops in arguments.targets or ()]
    prices += [f"search.cost_weight={weight}" for weight in arguments.cost_weights or ()]
    with run.staged(days_of(run)) as run, process_group() as ranks:
        points = sweep(run, prices, ranks)
    print_json([vars(point) for point in points]) if arguments.json else print(sweep_text(points))
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
        "pareto",
        "search again under other prices, in this process, and show AUC against FLOPs beside the zoo and random networks",
        ("recsys-nas pareto runs/demo --targets 50000 100000 200000", "recsys-nas pareto runs/demo --cost-weights 3e-3 1e-2 3e-2"),
        _pareto_options,
        _pareto,
    ),
)
