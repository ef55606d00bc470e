"""Verbs that look at what runs came to, and set them side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.command_line import SUCCESS
from recsys_nas.verbs.verb import Verb, add_json, add_run, print_json, run_folder


def _compare_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_json(parser)


def _compare(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.results import write_results
    from recsys_nas.report.table import print_results

    results = write_results(run_folder(arguments.run))
    print_json(results) if arguments.json else print_results(results)
    return SUCCESS


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--model", required=True, help="a model that the run has trained, such as found")
    parser.add_argument("--days", required=True, help="days to judge it on, as 5 or 0-4 or 0,2")
    parser.add_argument("--seed", type=int, help="which of its trainings (default: the first of retrain.seeds)")
    add_json(parser)


def _evaluate(arguments: argparse.Namespace) -> int:
    from recsys_nas.config import parse_days
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.evaluate import evaluate, evaluation_text

    days = parse_days(arguments.days, "--days")
    run = Run.open(run_folder(arguments.run))
    seed = run.config.retrain.seeds[0] if arguments.seed is None else arguments.seed
    with run.staged(days) as run, process_group() as ranks:
        record = evaluate(run, arguments.model, seed, days, ranks)
    print_json(record) if arguments.json else print(evaluation_text(record))
    return SUCCESS


def _report(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.page import write_report

    print(f"wrote {write_report(run_folder(arguments.run))}")
    return SUCCESS


def _show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("architecture", type=Path, help="an architecture file")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--mermaid", action="store_true", help="print a Mermaid flowchart of it")
    form.add_argument("--json", action="store_true", help="print blocks and costs by module as JSON, for machines")


def _show(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.architecture_text import architecture_json, architecture_text
    from recsys_nas.report.mermaid import mermaid
    from recsys_nas.space import load_architecture

    architecture = load_architecture(arguments.architecture)
    if arguments.json:
        print_json(architecture_json(architecture))
    else:
        print(mermaid(architecture) if arguments.mermaid else architecture_text(architecture))
    return SUCCESS


def _runs_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="where the run folders lie (default: runs)")
    add_json(parser)


def _runs(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.runs import list_runs, print_runs

    runs = list_runs(arguments.folder)
    print_json([run.to_json() for run in runs]) if arguments.json else print_runs(runs)
    return SUCCESS


def _diff_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, help="the folder of a run")
    parser.add_argument("second", type=Path, help="the folder of another one")
    add_json(parser)


def _diff(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.difference import difference, difference_text

    found = difference(run_folder(arguments.first), run_folder(arguments.second))
    print_json(found) if arguments.json else print(difference_text(found))
    return SUCCESS


VERBS = (
    Verb(
        "compare",
        "gather all results into results.json and print the table",
        ("recsys-nas compare runs/demo", "recsys-nas compare runs/demo --json"),
        _compare_options,
        _compare,
    ),
    Verb(
        "evaluate",
        "judge a trained model on given days: AUC, log loss, NE and calibration, with intervals",
        ("recsys-nas evaluate runs/demo --model found --days 4-5",),
        _evaluate_options,
        _evaluate,
    ),
    Verb("report", "write report.html and report.md from the run folder", ("recsys-nas report runs/demo",), add_run, _report),
    Verb(
        "runs", "list runs with their state and best figures", ("recsys-nas runs", "recsys-nas runs old/runs --json"), _runs_options, _runs
    ),
    Verb(
        "diff",
        "what differs between two runs: config, architecture and results",
        ("recsys-nas diff runs/demo runs/wide",),
        _diff_options,
        _diff,
    ),
    Verb(
        "show",
        "print an architecture: blocks, inputs, cost by module",
        ("recsys-nas show runs/demo/architecture.json", "recsys-nas show runs/demo/architecture.json --mermaid"),
        _show_options,
        _show,
    ),
)
