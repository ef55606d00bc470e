"""One controller per run folder: two would start the same jobs and write the same files.

The kernel holds the lock (flock) for as long as its process lives, so a controller that was killed leaves none behind.
The file's text says who holds it; it also speaks for a holder on another host, whose kernel this one cannot ask.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launch.errors import LaunchError
from recsys_nas.report.runs import CONTROLLER_LOCK


@dataclass(frozen=True)
class _Holder:
    host: str = ""
    pid: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.host else "which is just starting"


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
            raise LaunchError(f"{run} is in use by another controller, {holder}; if that one is gone, delete {path} and start again")
        file.truncate(0)
        file.write(json.dumps({"host": here, "pid": os.getpid()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> _Holder:
    """Who a lock file names; nobody when it is empty or damaged."""
    try:
        return _Holder(**json.loads(text))
    except (ValueError, TypeError):
        return _Holder()
