"""The controller of a preparation: one TorchX job a day and stage, then the manifest over all days.

    python -m launch.prep_controller --input 'raw/day_*' --out shards/ [options of data-prep run] [--launch launch.scheduler=slurm]

`torchx run launch/prep.py --input ... --out ...` runs this. Jobs are stages of `data-prep run` (`data_prep.stages`), which share the
output's disk; all state lies in its work folder, so that the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from data_prep import stages
from data_prep.cli import options_of, parse_run
from data_prep.day_jobs import COUNTS_FILE, DAY_FILE
from data_prep.inputs import DaySource, find_logs
from data_prep.job_progress import progress_file
from data_prep.options import PrepareOptions
from data_prep.pool import default_workers
from data_prep.shards import MANIFEST, day_folder
from data_prep.table_format import TableFormat
from data_prep.vocabulary import VOCABULARY, VOCABULARY_FILE
from data_prep.wording import counted
from data_prep.work_folder import counts_folder, index_folder, work_folder
from launch.devices import slots
from launch.dry_run import print_requests
from launch.errors import LaunchError
from launch.jobs import Job, process_app
from launch.lock import run_lock
from launch.outcome import JOB_FAILED, in_one_line
from launch.progress import Tally, progress
from launch.queue import JobQueue
from launch.slurm import open_runner
from launch.stop import Stop
from recsys_nas.config import LaunchConfig, load_config
from recsys_nas.named_resources import with_resource

MODULE = "data_prep.cli"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a job failed, 2 something to mend first, 130 stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.prep_controller", description="Prepare logs, one job a day.", allow_abbrev=False
    )
    parser.add_argument("--launch", action="append", default=[], metavar="launch.NAME=VALUE", help="how jobs are launched")
    parser.add_argument("--resume", action="store_true", help="only go on with a preparation that has begun")
    parser.add_argument("--dryrun", action="store_true", help="print what the scheduler would be asked for, and start nothing")
    own, words = parser.parse_known_args(arguments)
    parse_run(words)  # which ends the process when there is something to say about them
    return in_one_line(lambda: prepare(words, load_config(os.devnull, own.launch).launch, own.resume, own.dryrun))


def prepare(words: Sequence[str], launch: LaunchConfig, resume: bool, dryrun: bool) -> int:
    """Shards by the arguments `words` of `data-prep run`; returns an exit code. Raises DataError and LaunchError."""
    asked = parse_run(words)
    # A stage of preparation is one process, without GPUs.
    launch = replace(with_resource(launch), resource="", nnodes=1, nproc_per_node=1, gpus=0)
    if resume and not (work_folder(asked.out).exists() or (asked.out / MANIFEST).exists()):
        raise LaunchError(f"nothing to resume: no preparation has begun in {asked.out}; leave out --resume to begin one")
    options = options_of(asked)
    if dryrun:
        return _dry_run(asked.out, _sources_by_name(asked, options), options, words, launch)
    with run_lock(work_folder(asked.out)):
        sources = stages.plan(asked.out, find_logs(asked.input), options, asked.workers or default_workers())
        return run(asked.out, sources, options, words, launch)


def _sources_by_name(asked: argparse.Namespace, options: PrepareOptions) -> Sequence[DaySource]:
    """The days where the logs' names tell them; LaunchError where a column does, for then finding them is part of the work."""
    if isinstance(options.format, TableFormat) and options.format.table.day.column:
        raise LaunchError("--dryrun: the days of these logs stand in a column, and are known once the logs are divided among them")
    return options.format.days(find_logs(asked.input), asked.out, 1)


def _dry_run(root: Path, sources: Sequence[DaySource], options: PrepareOptions, words: Sequence[str], launch: LaunchConfig) -> int:
    jobs = [job for job in prep_jobs(root, sources, options, words) if not job.is_done]
    print_requests(jobs, launch, work_folder(root) / "logs", process_app)
    return 0


def run(root: Path, sources: Sequence[DaySource], options: PrepareOptions, words: Sequence[str], launch: LaunchConfig) -> int:
    """All jobs, each skipped when it is done, and the manifest; `words` are the arguments that every stage gets."""
    stop = Stop()
    jobs = prep_jobs(root, sources, options, words)
    to_do = [job for job in jobs if not job.is_done]
    room = slots(launch, len(jobs))
    with open_runner() as runner, progress(Console(), Tally(len(jobs), room.jobs, len(jobs) - len(to_do))) as shown:
        left = f"{len(to_do)} of {counted(len(jobs), 'job')} left, {min(room.jobs, len(to_do))} at once"
        shown.say(f"shards of {counted(len(sources), 'day')} in {root}: {left}")
        queue = JobQueue(runner, launch, room, work_folder(root) / "logs", shown, stop, build=process_app)
        stop.listen()
        failures = queue.run(to_do)
    if failures:
        names = ", ".join(job.title for job in jobs if job.name in failures)
        print(f"error: failed: {names}; finished days are kept: mend the cause and run the same command again", file=sys.stderr)
        return JOB_FAILED
    stop.check()
    manifest = stages.manifest(root, options)
    print(f"{manifest.size_text} in {root}", flush=True)
    return 0


def prep_jobs(root: Path, sources: Sequence[DaySource], options: PrepareOptions, words: Sequence[str]) -> tuple[Job, ...]:
    """The jobs of the plan: with modulo one a day; with frequency counts before them, where there is no vocabulary, and its tables."""
    shards = tuple(
        _day_job(root, stages.SHARDS, source.day, words, root / day_folder(source.day), DAY_FILE, by_frequency=options.by_frequency)
        for source in sources
    )
    if not options.by_frequency or all(job.is_done for job in shards):
        return shards
    counted = options.vocabulary_from is not None or (root / VOCABULARY).exists()
    counts = tuple(
        replace(_day_job(root, stages.COUNT, source.day, words, counts_folder(root, source.day), COUNTS_FILE), used_up=root / VOCABULARY)
        for source in (() if counted else sources)
    )
    vocabulary = Job(
        name="vocabulary",
        module=MODULE,
        arguments=("run", *words, "--stage", stages.VOCABULARY_STAGE),
        folders=(index_folder(root),),
        result=VOCABULARY_FILE,
        needs=tuple(folder / job.result for job in counts for folder in job.folders),
    )
    return (*counts, vocabulary, *shards)


def _day_job(root: Path, stage: str, day: int, words: Sequence[str], folder: Path, result: str, by_frequency: bool = False) -> Job:
    return Job(
        name=f"{stage}-day-{day}",
        module=MODULE,
        arguments=("run", *words, "--stage", stage, "--day", str(day)),
        folders=(folder,),
        result=result,
        needs=(index_folder(root) / VOCABULARY_FILE,) if by_frequency else (),
        metrics=progress_file(root, stage, day),
    )


if __name__ == "__main__":
    sys.exit(main())
