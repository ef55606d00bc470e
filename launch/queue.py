"""A bounded queue over TorchX: runs jobs as slots get free, judges them by their result files, and tries failed ones again.

TorchX's local scheduler starts all it is given at once and never tries again, and a cluster's queue knows nothing of our
result files; so each job is an app of its own, and this queue does the rest.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from torchx.runner import Runner
from torchx.runner import config as torchx_config
from torchx.schedulers.api import AppDryRunInfo
from torchx.specs import NONE, AppDef, AppState, AppStatus, CfgVal

from data_prep.atomic import write_text
from launch.causes import Failure, failure
from launch.devices import Slots
from launch.errors import LaunchError
from launch.jobs import LOCAL, Job, ddp_app
from launch.stop import Stop
from recsys_nas.config import LaunchConfig

TICK_SECONDS = 0.2
CLUSTER_POLL_SECONDS = 5.0
# A cluster that does not know a job for so long has lost it; its accounting may be slow. While that is down nothing is known.
LOST_AFTER_SECONDS = 300.0
COMBINED = "combined.log"
HANDLE = "handle"
TIME_LIMIT = "TIME_LIMIT"
# Slurm's words for a job that did nothing wrong itself: its logs tell no cause.
ENDED_FROM_OUTSIDE = ("CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "REVOKED")

AppBuilder = Callable[[Job, LaunchConfig, Path, Mapping[str, str]], AppDef]


@dataclass
class Attempt:
    """One try at one job. All that it prints lands below `logs`; `retries` is how many more there may be."""

    job: Job
    number: int
    logs: Path
    retries: int
    gpus: tuple[str, ...] = ()
    ranks: int = 1
    handle: str = ""
    started: float = field(default_factory=time.time)
    running_since: float | None = None
    last_heard_of: float = field(default_factory=time.time)
    taken_over: bool = False

    @property
    def seconds(self) -> float:
        return time.time() - self.started

    @property
    def seconds_running(self) -> float:
        """Without the time it waited in a cluster's own queue."""
        return 0.0 if self.running_since is None else time.time() - self.running_since

    @property
    def log(self) -> Path:
        """The file to follow, where the scheduler keeps one; else the folder."""
        return path if (path := self.logs / COMBINED).exists() else self.logs

    def link_log(self) -> None:
        """Give the local scheduler's log a name that a person can find."""
        for path in self.logs.glob(f"torchx/*/*/0/{COMBINED}"):
            (self.logs / COMBINED).symlink_to(path.relative_to(self.logs))


class Observer(Protocol):
    """Who shows the queue's progress; see `launch.progress`."""

    def started(self, attempt: Attempt) -> None: ...
    def finished(self, attempt: Attempt) -> None: ...
    def failed(self, attempt: Attempt, why: Failure, again_in: float | None) -> None: ...
    def update(self, running: Sequence[Attempt], waiting: Sequence[Job]) -> None: ...


@dataclass
class _Waiting:
    job: Job
    retries: int
    not_before: float = 0.0


@dataclass
class JobQueue:
    """Runs jobs on the scheduler that `launch` names, each attempt with its own folder below `logs`."""

    runner: Runner
    launch: LaunchConfig
    slots: Slots
    logs: Path
    observer: Observer
    stop: Stop
    build: AppBuilder = ddp_app
    backoff_seconds: float = 2.0

    def __post_init__(self) -> None:
        self._options = scheduler_options(self.runner, self.launch)
        self._waiting: list[_Waiting] = []
        self._running: list[Attempt] = []
        self.failures: dict[str, Failure] = {}
        self._free_gpus = list(self.slots.gpus or ())
        self._ranks = self.launch.nnodes * self.launch.nproc_per_node
        self._next_poll = 0.0
        self._news = True

    def run(self, jobs: Sequence[Job], after_each: Callable[[], None] = lambda: None) -> dict[str, Failure]:
        """Run the jobs that are not done, in the order of the list as far as they are ready; returns failures by job name.

        `after_each` is called at the start and after each success and final failure, for work that makes further jobs ready.
        Jobs that never get ready, since what they need failed, are not run. Raises Stopped when asked to stop. However it
        ends, nothing it started is left running.
        """
        self._waiting = [_Waiting(job, self.launch.retries) for job in jobs if not job.is_done]
        self._take_over()
        try:
            while True:
                if self._news:
                    self._news = False
                    after_each()
                if not self._running and not any(entry.job.is_ready for entry in self._waiting):
                    return self.failures
                self.stop.check()
                self._see_what_ended()
                self._start_ready()
                self.observer.update(self._running, [entry.job for entry in self._waiting])
                time.sleep(TICK_SECONDS)
        finally:
            self._cancel(self._running)

    def _see_what_ended(self) -> None:
        """Attempts that failed are queued again or given up."""
        if time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + (0.0 if self.launch.scheduler == LOCAL else CLUSTER_POLL_SECONDS)
        for attempt in list(self._running):
            state = self._end_state(attempt)
            if state is None:
                continue
            self._running.remove(attempt)
            self._free_gpus.extend(attempt.gpus)
            if attempt.job.is_done:
                self._news = True
                self.observer.finished(attempt)
            else:
                self._fail(attempt, self._why(attempt, state))

    def _end_state(self, attempt: Attempt) -> str | None:
        """How the attempt ended, in the scheduler's words, or None while it runs. One past its time limit is ended here."""
        answered, status = self._ask(attempt)
        if answered and status is None:
            if time.time() - attempt.last_heard_of < LOST_AFTER_SECONDS:
                return None
            self._cancel([attempt])  # lest it run on beside the next attempt
            return "UNKNOWN"
        attempt.last_heard_of = time.time()
        if status is not None and status.is_terminal():
            return status.state.name if status.msg in ("", NONE) else status.msg
        if status is not None and status.state == AppState.RUNNING and attempt.running_since is None:
            attempt.running_since = time.time()
        if attempt.seconds_running < self.launch.timeout_minutes * 60:
            return None
        self._cancel([attempt])
        return TIME_LIMIT

    def _ask(self, attempt: Attempt) -> tuple[bool, AppStatus | None]:
        """Whether the scheduler answered, and the job's state, None when it does not know the job."""
        try:
            return True, self.runner.status(attempt.handle)
        except Exception as error:  # whatever a scheduler's client raises: an accounting that is down, a lost connection ...
            if self.launch.scheduler == LOCAL:
                raise
            return _is_gone(error), None

    def _why(self, attempt: Attempt, state: str) -> Failure:
        if state == TIME_LIMIT:
            return Failure(f"ran past launch.timeout_minutes = {self.launch.timeout_minutes:g}")
        if state in ("SUCCEEDED", "COMPLETED"):
            return Failure(f"ended without writing {attempt.job.missing[0]}")
        if self.launch.scheduler != LOCAL and state.startswith(ENDED_FROM_OUTSIDE):
            return Failure(f"{self.launch.scheduler} says {state}")
        return failure(attempt.logs, state)

    def _fail(self, attempt: Attempt, why: Failure) -> None:
        if why.user_error or not attempt.retries:
            self.failures[attempt.job.name] = why
            self._news = True
            self.observer.failed(attempt, why, again_in=None)
            return
        wait = self.backoff_seconds * 2 ** (self.launch.retries - attempt.retries)
        self._waiting.insert(0, _Waiting(attempt.job, attempt.retries - 1, time.time() + wait))
        self.observer.failed(attempt, why, again_in=wait)

    def _start_ready(self) -> None:
        for entry in list(self._waiting):
            if len(self._running) >= self.slots.jobs:
                return
            if entry.job.is_ready and time.time() >= entry.not_before:
                self._waiting.remove(entry)
                self._start(entry)

    def _start(self, entry: _Waiting) -> None:
        attempt = self._new_attempt(entry, self._take_gpus())
        attempt.logs.mkdir(parents=True)
        try:
            attempt.handle = self.runner.schedule(self._request(attempt))
        except Exception as error:  # whatever a scheduler's client raises: sbatch refused, no route to the cluster ...
            self._free_gpus.extend(attempt.gpus)
            self._fail(attempt, Failure(f"{self.launch.scheduler} did not take it: {error}"))
            return
        write_text(attempt.logs / HANDLE, attempt.handle)
        attempt.link_log()
        self._running.append(attempt)
        self.observer.started(attempt)

    def request(self, job: Job) -> AppDryRunInfo:
        """What the scheduler would be asked for if the job were started first and now; nothing is started or written."""
        return self._request(self._new_attempt(_Waiting(job, 0), tuple(self._free_gpus[: self.launch.gpus])))

    def _request(self, attempt: Attempt) -> AppDryRunInfo:
        environment = {} if self.slots.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(attempt.gpus)}
        app = self.build(attempt.job, self.launch, attempt.logs, environment)
        # TorchX ignores options that a scheduler does not have.
        return self.runner.dryrun(app, self.launch.scheduler, {**self._options, "log_dir": str(attempt.logs)})

    def _new_attempt(self, entry: _Waiting, gpus: tuple[str, ...] = ()) -> Attempt:
        number = 1
        while (logs := _attempt_folder(self.logs, entry.job, number)).exists():
            number += 1
        return Attempt(entry.job, number, logs, entry.retries, gpus, self._ranks)

    def _take_over(self) -> None:
        """What a cluster still runs for a controller that was killed goes on under this one, and is not started twice."""
        for entry in list(self._waiting):
            number = self._new_attempt(entry).number - 1
            logs = _attempt_folder(self.logs, entry.job, number)
            if self.launch.scheduler == LOCAL or not (logs / HANDLE).exists():  # local jobs end with their controller
                continue
            handle = (logs / HANDLE).read_text(encoding="utf-8")
            if not handle.startswith(f"{self.launch.scheduler}://"):
                continue
            attempt = Attempt(entry.job, number, logs, entry.retries, ranks=self._ranks, handle=handle, taken_over=True)
            if self._may_run(attempt):
                self._waiting.remove(entry)
                self._running.append(attempt)
                self.observer.started(attempt)

    def _may_run(self, attempt: Attempt) -> bool:
        """Unless the scheduler says that it ended, or does not know it long after it was handed in."""
        answered, status = self._ask(attempt)
        if status is not None:
            return not status.is_terminal()
        return not answered or time.time() - (attempt.logs / HANDLE).stat().st_mtime < LOST_AFTER_SECONDS

    def _take_gpus(self) -> tuple[str, ...]:
        count = self.launch.gpus if self.slots.gpus is not None else 0
        taken, self._free_gpus = self._free_gpus[:count], self._free_gpus[count:]
        return tuple(taken)

    def _cancel(self, attempts: Sequence[Attempt]) -> None:
        """End them all at once: a local scheduler waits seconds for each to go."""
        if attempts:
            with ThreadPoolExecutor(len(attempts)) as pool:
                list(pool.map(self._cancel_one, attempts))

    def _cancel_one(self, attempt: Attempt) -> None:
        try:
            self.runner.cancel(attempt.handle)
        except Exception as error:  # one that cannot be cancelled must not keep the others from it
            if _is_gone(error):
                return
            print(f"warning: {attempt.job.name} could not be cancelled ({error}); look for {attempt.handle}", file=sys.stderr)


def _is_gone(error: Exception) -> bool:
    """Kubernetes' answer for a job that was deleted."""
    return getattr(error, "status", None) == HTTPStatus.NOT_FOUND


def _attempt_folder(logs: Path, job: Job, number: int) -> Path:
    return logs / job.name / f"attempt={number}"


def scheduler_options(runner: Runner, launch: LaunchConfig) -> dict[str, CfgVal]:
    """`launch.scheduler_options` in the scheduler's own types, completed from .torchxconfig. Raises LaunchError.

    Making them also makes the scheduler, so call this before taking over signals.
    """
    if launch.scheduler not in runner.scheduler_backends():
        known = ", ".join(runner.scheduler_backends())
        raise LaunchError(f"launch.scheduler = {launch.scheduler!r}: TorchX knows {known}")
    try:
        accepted = runner.scheduler_run_opts(launch.scheduler)
    except Exception as error:  # each scheduler needs its own client library or programme
        raise LaunchError(f"launch.scheduler = {launch.scheduler!r} cannot be used here: {error}") from error
    if unknown := [name for name in launch.scheduler_options if accepted.get(name) is None]:
        names = ", ".join(name for name, _ in accepted)
        raise LaunchError(f"launch.scheduler_options: {launch.scheduler} has no option {unknown[0]!r}; it knows {names}")
    options = accepted.cfg_from_str(",".join(f"{name}={value}" for name, value in launch.scheduler_options.items()))
    torchx_config.apply(launch.scheduler, options)
    return options
