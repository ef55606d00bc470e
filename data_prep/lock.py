"""One writer a folder: a second run on the same output is refused before it can mix with the first.

A run holds the folder for itself; jobs that make one day each share it, and hold their day.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import DataError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make `folder` and hold it while the block runs. Raises DataError when another process holds it or a day of it.

    The lock goes with the process, however it ends.
    """
    with _locked(folder / ".lock", fcntl.LOCK_EX, f"another process is writing to {folder}"):
        yield


@contextmanager
def exclusive_day(folder: Path, lock: Path) -> Iterator[None]:
    """Share `folder` with the jobs of other days, and hold the day whose lock file is `lock`. Raises DataError as above."""
    with (
        _locked(folder / ".lock", fcntl.LOCK_SH, f"another process is writing to {folder}"),
        _locked(lock, fcntl.LOCK_EX, f"another job makes {lock.stem} of {folder}"),
    ):
        yield


@contextmanager
def _locked(path: Path, mode: int, taken: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{taken}: wait for it to end, or choose another --out") from None
        yield
