"""Verbs for before a search: is this machine fit, do the tables fit, how long will it take."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.command_line import FAILURE, SUCCESS
from recsys_nas.verbs.verb import Verb, add_json

_SIMULATE = "recsys-nas simulate --days 24 --workers 8 --rows-per-day 182e6 --gpus 8 --device h200 --price 3"


def _doctor(arguments: argparse.Namespace) -> int:
    from recsys_nas.doctor import run_doctor

    return run_doctor(as_json=arguments.json)


def _plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="the experiment, a TOML file")
    parser.add_argument("--world-size", type=int, required=True, help="ranks of a job")
    parser.add_argument("--phase", choices=("search", "retrain"), default="retrain", help="whose tables and batches (default: retrain)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a value of the config")
    parser.add_argument("--out", type=Path, help="where to write the plan (default: plan.json in the run folder)")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    add_json(parser)


def _plan(arguments: argparse.Namespace) -> int:
    from recsys_nas.config import load_config
    from recsys_nas.jobs.plan import show_plan

    if arguments.world_size < 1:
        raise ValueError(f"--world-size {arguments.world_size}: must be at least 1")
    config = load_config(arguments.config, arguments.set)
    out = None if arguments.dry_run else arguments.out or config.run_folder / "plan.json"
    fits = show_plan(config, arguments.phase, arguments.world_size, out, as_json=arguments.json)
    return SUCCESS if fits else FAILURE


def _simulate_options(parser: argparse.ArgumentParser) -> None:
    from recsys_nas import campaign

    campaign.add_options(parser)
    add_json(parser)


def _simulate(arguments: argparse.Namespace) -> int:
    from recsys_nas import campaign

    campaign.run_simulate(arguments)
    return SUCCESS


VERBS = (
    Verb("doctor", "check this machine's installation and say how to mend it", ("recsys-nas doctor --json",), add_json, _doctor),
    Verb(
        "plan",
        "show which rank would hold which table, and whether it fits",
        ("recsys-nas plan --config configs/demo.toml --world-size 2 --dry-run",),
        _plan_options,
        _plan,
    ),
    Verb("simulate", "how long a search over many days takes, and what it costs", (_SIMULATE,), _simulate_options, _simulate),
)
