"""What a scheduler would be asked for, without asking it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from launch.devices import slots
from launch.jobs import Job, ddp_app
from launch.progress import Lines, Tally
from launch.queue import AppBuilder, JobQueue
from launch.slurm import open_runner
from launch.stop import Stop
from recsys_nas.config import LaunchConfig


def print_requests(jobs: Sequence[Job], launch: LaunchConfig, logs: Path, build: AppBuilder = ddp_app) -> None:
    """Print each job's request as its scheduler would get it; nothing is started or written. Raises LaunchError."""
    with open_runner() as runner:
        queue = JobQueue(runner, launch, slots(launch, len(jobs)), logs, Lines(Console(), Tally(0, 1)), Stop(), build)
        for job in jobs:
            print(f"=== {job.title}, to {launch.scheduler}\n{queue.request(job)}", flush=True)
