"""The controller: takes one run from a config to a report, one TorchX job at a time or many.

    python -m launch.controller --config configs/demo.toml [section.key=value ...]

`torchx run launch/search.py --config configs/demo.toml` runs this. All its state is in the run folder: it may be stopped or
killed at any moment, and the same command continues.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from rich.console import Console

from data_prep.errors import DataError
from launch.causes import Failure
from launch.devices import Slots, slots
from launch.errors import LaunchError
from launch.jobs import Job, architecture_file, retrain_jobs, search_jobs
from launch.lock import run_lock
from launch.preflight import check
from launch.process import STOPPED, put_own_commands_first
from launch.progress import Lines, Tally, progress
from launch.queue import JobQueue
from launch.slurm import open_runner
from launch.stop import EXIT_CODE, Stop, Stopped
from recsys_nas.config import Config, ConfigError, load_config

JOB_FAILED = 1
USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a job failed, 2 something to mend first, 130 stopped."""
    parser = argparse.ArgumentParser(prog="python -m launch.controller", description="Search, retrain, compare and report.")
    parser.add_argument("--config", required=True, help="the experiment, a TOML file")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="config values that replace the file's")
    options = parser.parse_args(arguments)
    logging.getLogger("torchx").setLevel(logging.ERROR)
    put_own_commands_first()
    try:
        config = load_config(options.config, options.overrides)
        check(config)
        with run_lock(config.run_folder):
            return run(config, Console())
    except (ConfigError, DataError, LaunchError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except (Stopped, KeyboardInterrupt):
        print(STOPPED, flush=True)
        return EXIT_CODE


def run(config: Config, console: Console) -> int:
    """All stages of one run, each skipping what is done. The caller holds the run's lock."""
    from recsys_nas.provenance import write_provenance

    stop = Stop()
    jobs = (*search_jobs(config), *retrain_jobs(config))
    to_do = [job for job in jobs if not job.is_done]
    room = slots(config.launch, len(jobs))
    # What to type to do it again; under TorchX this process was started with the same arguments.
    write_provenance(config.run_folder, config, ["torchx", "run", "launch/search.py", *sys.argv[1:]])
    with open_runner() as runner, progress(console, Tally(len(jobs), room.jobs, len(jobs) - len(to_do))) as shown:
        shown.say(_plan(config, jobs, to_do, room))
        queue = JobQueue(runner, config.launch, room, config.run_folder / "logs", shown, stop)
        stop.listen()
        failures = queue.run(to_do, after_each=lambda: _aggregate(config, shown))
    if failures:
        print(f"error: {_failed(jobs, failures)}", file=sys.stderr)
        return JOB_FAILED
    stop.check()
    _report(config)
    return 0


def _plan(config: Config, jobs: Sequence[Job], to_do: Sequence[Job], room: Slots) -> str:
    days = len(search_jobs(config))
    work = f"{days} days to search, {len(jobs) - days} models to retrain"
    left = f"{len(to_do)} of {len(jobs)} jobs left" if len(to_do) < len(jobs) else f"{len(jobs)} jobs"
    at_once = min(room.jobs, len(to_do))
    return f"run {config.run_folder}: {work}; " + (f"{left}, {at_once} at once" if to_do else "all jobs are done")


def _aggregate(config: Config, shown: Lines) -> None:
    """Once all days are done: the architecture they agree on. One that is newer than every day stays, edited by hand or not."""
    from recsys_nas.search.aggregate import aggregate_run

    days = search_jobs(config)
    if not all(job.is_done for job in days):
        return
    architecture = architecture_file(config)
    newest_day = max((folder / job.result).stat().st_mtime for job in days for folder in job.folders)
    if not architecture.exists() or architecture.stat().st_mtime < newest_day:
        aggregate_run(config.run_folder)
        shown.say(f"aggregated {len(days)} days: the architecture is in {architecture}")


def _failed(jobs: Sequence[Job], failures: dict[str, Failure]) -> str:
    names = ", ".join(job.title for job in jobs if job.name in failures)
    held_up = [job.title for job in jobs if not job.is_done and job.name not in failures]
    then = f" ({', '.join(held_up)} could not start)" if held_up else ""
    return f"failed: {names}{then}; finished work is kept: mend the cause and run the same command again"


def _report(config: Config) -> None:
    from recsys_nas.report.page import write_report
    from recsys_nas.report.results import write_results
    from recsys_nas.report.table import print_results

    run_folder = config.run_folder
    results = write_results(run_folder)
    report = write_report(run_folder)
    print_results(results)
    print(f"results  {run_folder / 'results.json'}")
    print(f"report   {report}")
    print(f"curves   tensorboard --logdir {run_folder}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
