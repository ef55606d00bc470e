"""The `data-prep` command. Each verb's work is imported only when it runs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.command_line import EXIT_CODES, FAILURE, STOPPED, SUCCESS, USER_ERROR, Parser, folder, in_one_line
from data_prep.errors import DataError
from data_prep.wording import counted

if TYPE_CHECKING:
    from data_prep.options import PrepareOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0, 1 when `verify` found faults, 2 after a user error, or 130 after Ctrl-C."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except DataError as error:
        return _fail(str(error), USER_ERROR)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - whoever read our lines has had enough
        return SUCCESS
    except OSError as error:
        return _fail(in_one_line(error), USER_ERROR)
    except KeyboardInterrupt:
        return _fail("interrupted; finished days are kept, run the same command again to continue", STOPPED)
    return code


def _fail(message: str, code: int) -> int:
    print(f"error: {message}" if code == USER_ERROR else message, file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="data-prep", description="From raw click logs to shards, a day at a time.", epilog=EXIT_CODES)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_synth(verbs)
    _add_run(verbs)
    _add_verify(verbs)
    _add_inspect(verbs)
    return parser


def _verb(verbs: argparse._SubParsersAction[Parser], name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    added = verbs.add_parser(name, help=summary, description=summary, epilog=f"examples:\n{examples}")
    added.set_defaults(parser=added)
    return added


def _add_synth(verbs: argparse._SubParsersAction[Parser]) -> None:
    verb = _verb(
        verbs,
        "synth",
        "make Criteo-format logs of a world whose best AUC is known",
        "  data-prep synth --out raw/ --days 6 --rows-per-day 200000 --seed 0\n"
        "  data-prep synth --world second_order --out raw/ --days 3   # a small world; raw/schema.toml names its columns",
    )
    verb.add_argument("--out", type=folder, required=True, help="folder for day_0, day_1, ... and truth.json")
    verb.add_argument("--days", type=int, default=6)
    verb.add_argument("--rows-per-day", type=int, default=200_000)
    verb.add_argument("--seed", type=int, default=0, help="the world and its rows; same seed, same bytes")
    verb.add_argument("--world", default="demo", help="what is planted: demo (default), or one of the small worlds of data_prep/planted.py")
    verb.add_argument("--workers", type=int, default=0, help="processes; 0: one per core")
    verb.set_defaults(run=_synth)


def _synth(arguments: argparse.Namespace) -> int:
    from data_prep.synth import SynthParameters, finished_truth, synthesise

    start = time.monotonic()
    parameters = SynthParameters(arguments.seed, arguments.rows_per_day, arguments.days, world=arguments.world)
    rows = f"{counted(parameters.days, 'day')} of {counted(parameters.rows_per_day, 'row')} in {arguments.out}"
    truth = finished_truth(arguments.out, parameters)
    if truth is not None:
        print(f"already there: {rows}; nothing to do")
    else:
        truth = synthesise(arguments.out, parameters, _workers(arguments))
        print(f"made {rows} in {time.monotonic() - start:.1f} s")
    best = ", ".join(f"{figures['auc']:.4f} up to order {order}" for order, figures in truth["bayes_by_order"].items())
    print(f"best possible on day {truth['bayes']['day']}: log loss {truth['bayes']['logloss']:.4f}, AUC {best}")
    return 0


def _add_run(verbs: argparse._SubParsersAction[Parser]) -> None:
    verb = _verb(
        verbs,
        "run",
        "turn raw logs, one file a day, into shards",
        "  data-prep run --input 'raw/day_*' --schema criteo --out shards/\n"
        "  data-prep run --input day_0.gz day_1.gz --schema criteo --out shards/ --buckets 1000000 --workers 8\n"
        "  data-prep run --input 'raw/day_*' --out shards/ --hash frequency --threshold 3\n"
        "  data-prep run --input 'clicks/*.parquet' --schema clicks.toml --out shards/\n"
        "  data-prep run --input raw/day_24 --out shards/ --vocabulary shards/vocabulary   # a new day, the same ids",
    )
    verb.add_argument("--input", nargs="+", required=True, metavar="FILE", help="paths, URIs or quoted patterns; plain, .gz, .zst")
    verb.add_argument("--schema", default="criteo", help="criteo, or the TOML of a table of your own (docs/your-data.md)")
    verb.add_argument("--out", type=folder, required=True, help="folder for the shards; finished days in it are kept")
    verb.add_argument("--workers", type=int, default=0, help="cores to use: for several days at once, or several parts of a day; 0: all")
    verb.add_argument(
        "--resume", action="store_true", help="insist that --out holds work to go on with; without it a run also does, if there is"
    )
    _add_rules(verb)
    steps = verb.add_argument_group("one step at a time, as jobs of a cluster (`torchx run launch/prep.py` starts them)")
    steps.add_argument(
        "--stage", choices=["plan", "count", "vocabulary", "shards", "manifest"], help="in this order; count with frequency only"
    )
    steps.add_argument("--day", type=int, help="the day of a count or shards stage")
    verb.set_defaults(run=_run)


def _add_rules(verb: argparse.ArgumentParser) -> None:
    """What the shards depend on, beside the logs."""
    rules = verb.add_argument_group("what cells become (docs/data-format.md)")
    rules.add_argument("--hash", choices=["modulo", "frequency"], help="ids by modulo (default), or by a vocabulary over all days")
    rules.add_argument("--buckets", type=int, help="ids of a categorical column; default 10000, with frequency only an upper limit: none")
    rules.add_argument("--threshold", type=int, help="with frequency: ids seen less often share one (default 3)")
    rules.add_argument("--vocabulary", type=Path, metavar="FOLDER", help="ids from this vocabulary, made by an earlier run")
    rules.add_argument("--dense-transform", metavar="NAME", help="log1p (default): log(1+max(x,0)), mlperf: log(3+max(x,-2)), none")
    rules.add_argument("--part-rows", type=int, default=1 << 19, help="rows a part (default 524288)")
    rules.add_argument("--max-bad-share", type=float, default=0.001, help="share of malformed rows a day may have (default 0.001)")


def _run(arguments: argparse.Namespace) -> int:
    from data_prep.inputs import find_logs
    from data_prep.prepare import prepare, require_work

    if arguments.stage:
        return _run_stage(arguments)
    if arguments.day is not None:
        raise DataError(f"--day {arguments.day} goes with --stage count or shards; for some days only, name their files as --input")
    start = time.monotonic()
    options, workers = options_of(arguments), _workers(arguments)
    logs = find_logs(arguments.input)
    if arguments.resume:
        require_work(arguments.out)
    manifest, made = prepare(arguments.out, options.format.days(logs, arguments.out, workers), options, workers)
    bad = sum(day.bad_rows for day in manifest.days)
    content = f"{manifest.size_text} in {arguments.out}" + (f" ({counted(bad, 'bad row')} left out)" if bad else "")
    print(f"{content}; {made} made in {time.monotonic() - start:.1f} s" if made else f"already there: {content}; nothing to do")
    return 0


def _run_stage(arguments: argparse.Namespace) -> int:
    from data_prep import stages
    from data_prep.inputs import find_logs
    from data_prep.job_progress import JobProgress

    root, options, workers, day = arguments.out, options_of(arguments), _workers(arguments), arguments.day
    if arguments.resume:
        raise DataError("--resume goes without --stage: each stage goes on with what is there")
    if (day is None) != (arguments.stage not in (stages.COUNT, stages.SHARDS)):
        raise DataError(
            f"--stage {arguments.stage} {'needs the --day it is for' if day is None else 'is one for all days: leave out --day'}"
        )
    if arguments.stage == stages.PLAN:
        days = stages.plan(root, find_logs(arguments.input), options, workers)
        print(f"planned days {', '.join(str(source.day) for source in days)} of {root}")
    elif arguments.stage == stages.VOCABULARY_STAGE:
        stages.vocabulary(root, options, workers)
    elif arguments.stage == stages.MANIFEST_STAGE:
        print(f"{counted(len(stages.manifest(root, options).days), 'day')} in {root}")
    else:
        stage = stages.count if arguments.stage == stages.COUNT else stages.shards
        stage(root, options, day, JobProgress(root, arguments.stage, stages.planned_day(root, day)), workers)
    return 0


def _workers(arguments: argparse.Namespace) -> int:
    from data_prep.pool import default_workers

    if arguments.workers < 0:
        raise DataError(f"--workers {arguments.workers}: must be 0, for all cores, or more")
    return int(arguments.workers) or default_workers()


def parse_run(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of `data-prep run`, for whoever passes them on to its stages; ends the process as argparse does for wrong ones."""
    return _parser().parse_args(["run", *words])


def options_of(arguments: argparse.Namespace) -> PrepareOptions:
    """The rules asked for. Raises DataError for rules that do not go together."""
    from data_prep.options import DEFAULT_BUCKETS, DEFAULT_THRESHOLD, MAX_ROWS, PrepareOptions, read_schema

    frequency = arguments.hash == "frequency" or (arguments.hash is None and arguments.vocabulary is not None)
    if arguments.vocabulary and (not frequency or arguments.threshold is not None or arguments.buckets is not None):
        raise DataError("--vocabulary says all about ids: leave out --hash modulo, --threshold and --buckets")
    if arguments.threshold is not None and not frequency:
        raise DataError("--threshold goes with --hash frequency: modulo knows no counts")
    buckets = arguments.buckets if frequency or arguments.buckets is not None else DEFAULT_BUCKETS
    schema, log_format, dense = read_schema(arguments.schema, MAX_ROWS if buckets is None else buckets)
    return PrepareOptions(
        schema,
        buckets,
        arguments.part_rows,
        arguments.max_bad_share,
        log_format,
        arguments.dense_transform or dense,
        hash="frequency" if frequency else "modulo",
        threshold=DEFAULT_THRESHOLD if arguments.threshold is None else arguments.threshold,
        vocabulary_from=arguments.vocabulary,
    )


def _add_verify(verbs: argparse._SubParsersAction[Parser]) -> None:
    verb = _verb(verbs, "verify", "check every file of the shards against the manifest", "  data-prep verify shards/")
    verb.add_argument("shards", type=Path)
    verb.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from data_prep.verify import verify

    manifest, faults = verify(arguments.shards)
    print(*faults, sep="\n", end="\n" if faults else "")
    files = sum(len(part.sha256) for day in manifest.days for part in day.parts)
    checked = f"{manifest.size_text}, {counted(files, 'file')}"
    if faults:
        print(f"{counted(len(faults), 'fault')} in {checked}; delete the folder of a faulty day and `data-prep run` again makes it anew")
        return FAILURE
    print(f"all well: {checked}")
    return 0


def _add_inspect(verbs: argparse._SubParsersAction[Parser]) -> None:
    examples = "  data-prep inspect shards/\n  data-prep inspect shards/ --day 3"
    verb = _verb(verbs, "inspect", "show schema, rows, click rates, missing shares and first rows", examples)
    verb.add_argument("shards", type=Path)
    verb.add_argument("--day", type=int, default=None, help="the day whose columns are shown (default: the first)")
    verb.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    from data_prep.summary import summarise

    for line in summarise(arguments.shards, arguments.day):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
