"""One controller per run folder: two would start the same jobs and write the same files.

The kernel holds the lock (flock) for as long as its process lives, so a controller that was killed leaves none behind.
The file's text says who holds it; it also speaks for a holder on another host, whose kernel this one cannot ask, and which is
believed until the file is deleted. To help decide on that, a holder touches the file now and then, as a sign of life.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from launch.errors import LaunchError
from launch.quantities import duration
from recsys_nas.report.runs import CONTROLLER_LOCK

SIGN_OF_LIFE_SECONDS = 30.0


@dataclass(frozen=True)
class _Holder:
    host: str = ""
    pid: int = 0
    since: float = 0.0

    def __str__(self) -> str:
        if not self.host:
            return "which is just starting"
        age = f", started {_ago(self.since)}" if self.since else ""
        return f"process {self.pid} on {self.host}{age}"


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold the run folder `run`. Raises LaunchError naming host and process when another controller holds it."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / CONTROLLER_LOCK
    with path.open("a+", encoding="utf-8") as file:
        taken = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken = True
        file.seek(0)
        holder = _holder(file.read())
        here = socket.gethostname()
        if taken:
            raise LaunchError(f"{run} is in use by another controller, {holder}; wait for it, stop it, or choose another name=...")
        if holder.host not in ("", here):
            alive = f"which last gave a sign of life {_ago(path.stat().st_mtime)} (it does every {SIGN_OF_LIFE_SECONDS:.0f} s)"
            raise LaunchError(f"{run} is in use by another controller, {holder}, {alive}; if it is gone, delete {path} and start again")
        file.truncate(0)
        file.write(json.dumps({"host": here, "pid": os.getpid(), "since": time.time()}))
        file.flush()
        try:
            with _signs_of_life(path):
                yield
        finally:
            file.truncate(0)


@contextmanager
def _signs_of_life(path: Path) -> Iterator[None]:
    over = threading.Event()

    def give() -> None:
        while not over.wait(SIGN_OF_LIFE_SECONDS):
            with suppress(OSError):  # of a shared disk that is away for a while
                os.utime(path)

    thread = threading.Thread(target=give, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _ago(moment: float) -> str:
    return f"{duration(max(0.0, time.time() - moment))} ago"


def _holder(text: str) -> _Holder:
    """Who a lock file names; nobody when it is empty or damaged."""
    try:
        return _Holder(**json.loads(text))
    except (ValueError, TypeError):
        return _Holder()
