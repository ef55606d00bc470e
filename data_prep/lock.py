"""One writer a folder: a second run on the same output is refused before it can mix with the first."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import DataError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make `folder` and hold it while the block runs. Raises DataError when another process holds it.

    The lock goes with the process, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"another process is writing to {folder}: wait for it to end, or choose another --out") from None
        yield
