"""A run of two workers that sleep, for the tests that end it: each tells its process id in a file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from data_prep.pool import Report, run_tasks
from data_prep.progress import Progress


def sleep(folder: Path, report: Report) -> None:
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(120)


if __name__ == "__main__":
    try:
        with Progress("sleep", 1) as progress:
            run_tasks(sleep, [Path(sys.argv[1])] * 3, 2, progress)
    except KeyboardInterrupt:
        sys.exit(130)
