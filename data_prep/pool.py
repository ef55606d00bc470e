"""One job per day in a pool of processes, which ends as a whole: on a fault, on Ctrl-C, and when its parent is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.sharedctypes import RawArray
from typing import Any, TypeVar

import numpy as np

from data_prep.errors import DataError
from data_prep.progress import Progress

Report = Callable[[int, int], None]
"""Called by a job, now and then, with the work done and the rows handled so far."""

Task = TypeVar("Task")
Result = TypeVar("Result")
SECONDS_BETWEEN_UPDATES = 0.2

_counts: Any = None
"""In a worker: work done and rows handled, two numbers a task, shared with the parent. A task writes only its own."""


def default_workers() -> int:
    """As many as this process has cores to run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    job: Callable[[Task, Report], Result], tasks: Sequence[Task], workers: int, progress: Progress, preload: Sequence[str] = ()
) -> list[Result]:
    """Run `job` on each task; returns their results in the order of the tasks.

    `job` must be a function of a module, its task and result picklable. One worker or one task runs in this process.
    What a job raises ends the others and is raised here; DataError when a worker died. All workers of a program are forked
    from one process, started for the first of them, that has imported the modules `preload`: what takes a second to load is
    loaded once.
    """
    if min(workers, len(tasks)) <= 1:
        return _run_here(job, tasks, progress)
    multiprocessing.set_forkserver_preload(list(preload))
    return _run_pool(job, tasks, min(workers, len(tasks)), progress)


def _run_here(job: Callable[[Task, Report], Result], tasks: Sequence[Task], progress: Progress) -> list[Result]:
    counts = np.zeros((len(tasks), 2), np.int64)

    def report(index: int, done: int, rows: int) -> None:
        counts[index] = done, rows
        progress.update(int(counts[:, 0].sum()), int(counts[:, 1].sum()), counts.tolist())

    return [job(task, partial(report, index)) for index, task in enumerate(tasks)]


def _run_pool(job: Callable[[Task, Report], Result], tasks: Sequence[Task], workers: int, progress: Progress) -> list[Result]:
    counts = RawArray("q", 2 * len(tasks))
    context = multiprocessing.get_context("forkserver")
    executor = ProcessPoolExecutor(workers, context, _start_worker, (counts,))
    try:
        with _ignoring_interrupts():
            futures = [executor.submit(_call, job, index, task) for index, task in enumerate(tasks)]
        pending = set(futures)
        while pending:
            ended, pending = wait(pending, SECONDS_BETWEEN_UPDATES, FIRST_COMPLETED)
            progress.update(sum(counts[::2]), sum(counts[1::2]), list(zip(counts[::2], counts[1::2], strict=True)))
            for future in ended:
                future.result()
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise DataError("a worker process died, perhaps for want of memory; run again to continue, with fewer --workers") from None
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        executor.shutdown(cancel_futures=True)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started in the block ignore Ctrl-C from their first moment: it reaches the whole group, and is the parent's to handle."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker(counts: Any) -> None:
    """A worker whose parent is gone must not go on writing."""
    global _counts  # noqa: PLW0603 - set once, as the worker starts
    _counts = counts
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(job: Callable[[Task, Report], Result], index: int, task: Task) -> Result:
    def report(done: int, rows: int) -> None:
        _counts[2 * index], _counts[2 * index + 1] = done, rows

    return job(task, report)
