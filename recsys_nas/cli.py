"""`recsys-nas`: the steps of a run one by one, and looks at what it made. Each verb imports what it needs when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from recsys_nas import campaign

SUCCESS, FAILURE, USER_ERROR = 0, 1, 2
SIMULATE_EXAMPLE = "recsys-nas simulate --days 24 --workers 8 --rows-per-day 182e6 --rows-per-second 1e6 --gpus 8 --price 3"

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 1 when a check found a problem, 2 for bad input."""
    arguments = _parser().parse_args(argv)
    try:
        handler: Handler = arguments.handler
        return handler(arguments)
    except ValueError as error:  # ConfigError and DataError among them
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recsys-nas", description="Architecture search for click-through-rate models.")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, handler: Handler, text: str, example: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name, help=text, description=text, epilog=f"example: {example}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        added.set_defaults(handler=handler)
        return added

    doctor = verb("doctor", _doctor, "check this machine's installation and say how to mend it", "recsys-nas doctor --json")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")

    search_day = verb("search-day", _search_day, "search one day in this process", "recsys-nas search-day runs/demo --day 3")
    search_day.add_argument("run", type=Path)
    search_day.add_argument("--day", type=int, required=True)

    aggregate = verb("aggregate", _aggregate, "derive one architecture from all searched days", "recsys-nas aggregate runs/demo")
    aggregate.add_argument("run", type=Path)

    retrain = verb(
        "retrain", _retrain, "train and judge one model, all seeds, in this process", "recsys-nas retrain runs/demo --model found"
    )
    retrain.add_argument("run", type=Path)
    retrain.add_argument("--model", required=True)

    compare = verb("compare", _compare, "gather all results into results.json and print the table", "recsys-nas compare runs/demo")
    compare.add_argument("run", type=Path)

    report = verb("report", _report, "write report.html from the run folder", "recsys-nas report runs/demo")
    report.add_argument("run", type=Path)

    quantise = verb(
        "quantise",
        _quantise,
        "write a trained model's tables in fewer bits, and what that costs in AUC",
        "recsys-nas quantise runs/demo --model found --dtype int8 int4",
    )
    _quantise_options(quantise)

    _add_cost_options(
        verb(
            "cost",
            _cost,
            "what an architecture, or a model of the zoo, costs to serve: FLOPs, bytes, parameters, and its time on a device at best",
            "recsys-nas cost runs/demo/architecture.json --schema data/demo/shards --device h200 --batch 1024",
        )
    )

    example = "recsys-nas plan --config configs/demo.toml --world-size 2 --dry-run"
    _plan_options(verb("plan", _plan, "show which rank would hold which table, and whether it fits", example))

    campaign.add_options(verb("simulate", _simulate, "how long a search over many days takes, and what it costs", SIMULATE_EXAMPLE))

    show = verb("show", _show, "print an architecture: blocks, inputs, cost by module", "recsys-nas show runs/demo/architecture.json")
    show.add_argument("architecture", type=Path)
    show.add_argument("--mermaid", action="store_true", help="print a Mermaid flowchart of it")
    return parser


def _quantise_options(quantise: argparse.ArgumentParser) -> None:
    quantise.add_argument("run", type=Path)
    quantise.add_argument("--model", required=True)
    quantise.add_argument("--seed", type=int, help="which of its trainings (default: the first of retrain.seeds)")
    quantise.add_argument("--dtype", nargs="+", choices=["float16", "int8", "int4"], default=["int8"], help="default int8")


def _add_cost_options(cost: argparse.ArgumentParser) -> None:
    cost.add_argument("model", help="an architecture file, or a name of the zoo such as dcnv2")
    cost.add_argument("--schema", required=True, help="a folder of shards, criteo, or the TOML of a table of your own")
    cost.add_argument("--device", default="cpu", help="cpu, a100, h100 or h200 (default cpu)")
    cost.add_argument("--batch", type=int, default=1024, help="examples scored together (default 1024)")
    cost.add_argument("--dtype", default="float32", help="of weights and activations: float32 or bfloat16 (default float32)")
    cost.add_argument("--tables", default="float32", help="of embedding tables: float32, float16, int8 or int4 (default float32)")
    cost.add_argument("--dim", type=int, help="width of the embeddings, for a model of the zoo")
    cost.add_argument("--json", action="store_true", help="print all of it as JSON")


def _plan_options(plan: argparse.ArgumentParser) -> None:
    plan.add_argument("--config", type=Path, required=True)
    plan.add_argument("--world-size", type=int, required=True, help="ranks of a job")
    plan.add_argument("--phase", choices=("search", "retrain"), default="retrain", help="whose tables and batches (default: retrain)")
    plan.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a value of the config")
    plan.add_argument("--out", type=Path, help="where to write the plan (default: plan.json in the run folder)")
    plan.add_argument("--dry-run", action="store_true", help="write nothing")


def _doctor(arguments: argparse.Namespace) -> int:
    from recsys_nas.doctor import run_doctor

    return run_doctor(as_json=arguments.json)


def _search_day(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.search_day import search_day

    run = Run.open(_run_folder(arguments.run))
    with run.staged([arguments.day]) as run, process_group() as ranks:
        search_day(run, arguments.day, ranks)
    return SUCCESS


def _aggregate(arguments: argparse.Namespace) -> int:
    from recsys_nas.search.aggregate import aggregate_run

    aggregate_run(_run_folder(arguments.run))
    print(f"wrote {arguments.run}/alphas.json and {arguments.run}/architecture.json")
    return SUCCESS


def _retrain(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.jobs.retrain import retrain

    run = Run.open(_run_folder(arguments.run))
    with run.staged(run.retrain_days) as run, process_group() as ranks:
        for seed in run.config.retrain.seeds:
            retrain(run, arguments.model, seed, ranks)
    return SUCCESS


def _compare(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.results import write_results
    from recsys_nas.report.table import print_results

    print_results(write_results(_run_folder(arguments.run)))
    return SUCCESS


def _report(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.page import write_report

    print(f"wrote {write_report(_run_folder(arguments.run))}")
    return SUCCESS


def _quantise(arguments: argparse.Namespace) -> int:
    from recsys_nas.jobs.assembly import Run
    from recsys_nas.jobs.environment import process_group
    from recsys_nas.serving.quantised import quantise_model, summary

    run = Run.open(_run_folder(arguments.run))
    seed = run.config.retrain.seeds[0] if arguments.seed is None else arguments.seed
    with run.staged(run.retrain_days) as run, process_group() as ranks:
        for report in quantise_model(run, arguments.model, seed, arguments.dtype, ranks):
            print(summary(report))
    return SUCCESS


def _cost(arguments: argparse.Namespace) -> int:
    from recsys_nas.cost.command import run_cost

    run_cost(arguments)
    return SUCCESS


def _simulate(arguments: argparse.Namespace) -> int:
    campaign.run_simulate(arguments)
    return SUCCESS


def _plan(arguments: argparse.Namespace) -> int:
    from recsys_nas.config import load_config
    from recsys_nas.jobs.plan import show_plan

    if arguments.world_size < 1:
        raise ValueError(f"--world-size {arguments.world_size}: must be at least 1")
    config = load_config(arguments.config, arguments.set)
    out = None if arguments.dry_run else arguments.out or config.run_folder / "plan.json"
    return SUCCESS if show_plan(config, arguments.phase, arguments.world_size, out) else FAILURE


def _show(arguments: argparse.Namespace) -> int:
    from recsys_nas.report.architecture_text import architecture_text, mermaid
    from recsys_nas.space import load_architecture

    architecture = load_architecture(arguments.architecture)
    print(mermaid(architecture) if arguments.mermaid else architecture_text(architecture))
    return SUCCESS


def _run_folder(path: Path) -> Path:
    if not (path / "config.toml").is_file():
        raise ValueError(f"{path} is no run folder: it holds no config.toml; a search makes one")
    return path


if __name__ == "__main__":
    sys.exit(main())
