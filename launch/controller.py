"""The controller: takes one run from a config to a report, one TorchX job at a time or many.

    python -m launch.controller --config configs/demo.toml [--stages search,retrain,compare] [--resume] [--dryrun] [section.key=value ...]

`torchx run launch/search.py --config configs/demo.toml` runs this. All its state is in the run folder: it may be stopped or
killed at any moment, and the same command continues.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console

from data_prep.wording import counted
from launch.days import aggregate_when_searched, is_given_up, left_out
from launch.devices import Slots, slots, spare_gpus
from launch.dry_run import print_requests
from launch.errors import LaunchError
from launch.jobs import Job, architecture_file, retrain_jobs, search_jobs
from launch.lock import run_lock
from launch.outcome import JOB_FAILED, in_one_line
from launch.preflight import check
from launch.progress import Lines, Tally, progress
from launch.queue import JobQueue
from launch.slurm import open_runner
from launch.stop import Stop
from launch.tracking import Tracking, open_tracking
from recsys_nas.config import Config, load_config
from recsys_nas.named_resources import with_resource

STAGES = ("search", "retrain", "compare")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a job failed, 2 something to mend first, 130 stopped."""
    options = parser().parse_args(arguments)
    return in_one_line(lambda: launch(options))


def parser() -> argparse.ArgumentParser:
    """What the controller is asked for."""
    parser = argparse.ArgumentParser(prog="python -m launch.controller", description="Search, retrain, compare and report.")
    parser.add_argument("--config", required=True, help="the experiment, a TOML file")
    parser.add_argument("--stages", type=_stages, default=STAGES, help=f"some of {','.join(STAGES)}; all of them by default")
    parser.add_argument("--resume", action="store_true", help="only go on with a run that has begun")
    parser.add_argument("--dryrun", action="store_true", help="print what the scheduler would be asked for, and start nothing")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="config values that replace the file's")
    return parser


def read_config(options: argparse.Namespace) -> Config:
    """The config that the options name, its launch section completed by its named resource. Raises ConfigError and LaunchError."""
    config = load_config(options.config, options.overrides)
    return replace(config, launch=with_resource(config.launch))


def launch(options: argparse.Namespace) -> int:
    """The stages that are asked for; returns an exit code. Raises ConfigError, DataError and LaunchError."""
    config = read_config(options)
    check(config)
    _check_begun(config, options.stages, options.resume)
    if options.dryrun:
        return dry_run(config, options.stages)
    with run_lock(config.run_folder):
        return run(config, options.stages, Console(), ["--config", options.config, *options.overrides])


def _stages(text: str) -> tuple[str, ...]:
    named = text.split(",")
    if unknown := [name for name in named if name not in STAGES]:
        raise argparse.ArgumentTypeError(f"there is no stage {unknown[0]!r}; known are {', '.join(STAGES)}")
    return tuple(named)


def _check_begun(config: Config, stages: Sequence[str], resume: bool) -> None:
    """Raises LaunchError when what these stages go on from is not there."""
    if resume and not (config.run_folder / "config.toml").exists():
        raise LaunchError(f"nothing to resume: there is no run in {config.run_folder}; leave out --resume to begin one")
    needed = config.run_folder / ("config.toml" if stages == ("compare",) else architecture_file(config).name)
    if "search" not in stages and not needed.exists():
        raise LaunchError(f"{needed} is missing: `torchx run launch/search.py` with the same config makes it")


def stage_jobs(config: Config, stages: Sequence[str]) -> tuple[Job, ...]:
    """The jobs of these stages; comparing needs none."""
    return (*(search_jobs(config) if "search" in stages else ()), *(retrain_jobs(config) if "retrain" in stages else ()))


def dry_run(config: Config, stages: Sequence[str]) -> int:
    """Print the request of each job that is not done, as the scheduler would get it; nothing is started or written."""
    jobs = [job for job in stage_jobs(config, stages) if not job.is_done]
    print_requests(jobs, config.launch, config.run_folder / "logs")
    return 0


def run(config: Config, stages: Sequence[str], console: Console, words: Sequence[str]) -> int:
    """These stages of one run, each skipping what is done; `words` are what the user asked for. The caller holds the run's lock."""
    from recsys_nas.provenance import write_provenance

    stop = Stop()
    jobs = stage_jobs(config, stages)
    without = left_out(config)
    to_do = [job for job in jobs if not job.is_done and job.name not in without]
    room = slots(config.launch, len(jobs))
    command = ["torchx", "run", f"launch/{stages[0]}.py", *words]  # what to type to do it again
    tracking = open_tracking(config.run_folder)
    write_provenance(config.run_folder, config, command)
    tracking.begun(asdict(config), command)
    tally = Tally(len(jobs) - len(without), room.jobs, sum(job.is_done for job in jobs))
    with open_runner() as runner, progress(console, tally) as shown:
        if jobs:
            shown.say(_plan(config, jobs, to_do, room))
            if spare := spare_gpus(config.launch):
                shown.say(spare)
        queue = JobQueue(runner, config.launch, room, config.run_folder / "logs", tracking.watching(shown), stop)
        stop.listen()
        queue.run(to_do, after_each=lambda: _aggregate(config, queue, shown))
    failed = {name for name in queue.failures if not is_given_up(config, name)}
    if spared := [job.title for job in jobs if job.name in queue.failures and job.name not in failed]:
        print(f"done without {', '.join(spared)}, which failed", flush=True)
    if failed:
        print(f"error: {_failed(jobs, failed)}", file=sys.stderr)
        return JOB_FAILED
    stop.check()
    if "compare" in stages:
        _report(config, tracking)
    return 0


def _plan(config: Config, jobs: Sequence[Job], to_do: Sequence[Job], room: Slots) -> str:
    days = sum(job in search_jobs(config) for job in jobs)
    work = f"{counted(days, 'day')} to search, {counted(len(jobs) - days, 'model')} to retrain"
    left = f"{len(to_do)} of {counted(len(jobs), 'job')} left" if len(to_do) < len(jobs) else counted(len(jobs), "job")
    at_once = min(room.jobs, len(to_do))
    return f"run {config.run_folder}: {work}; " + (f"{left}, {at_once} at once" if to_do else "all jobs are done")


def _aggregate(config: Config, queue: JobQueue, shown: Lines) -> None:
    if said := aggregate_when_searched(config, queue.failures):
        shown.say(said)


def _failed(jobs: Sequence[Job], failed: set[str]) -> str:
    names = ", ".join(job.title for job in jobs if job.name in failed)
    held_up = [job.title for job in jobs if not job.is_done and job.name not in failed]
    then = f" ({', '.join(held_up)} could not start)" if held_up else ""
    return f"failed: {names}{then}; finished work is kept: mend the cause and run the same command again"


def _report(config: Config, tracking: Tracking) -> None:
    from recsys_nas.report.page import write_report
    from recsys_nas.report.results import write_results
    from recsys_nas.report.table import print_results

    run_folder = config.run_folder
    results = write_results(run_folder)
    report = write_report(run_folder)
    tracking.compared(results["models"])
    print_results(results)
    print(f"results  {run_folder / 'results.json'}")
    print(f"report   {report}")
    print(f"curves   tensorboard --logdir {run_folder}   # tab Custom Scalars", flush=True)


if __name__ == "__main__":
    sys.exit(main())
