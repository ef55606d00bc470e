"""What lies in an output folder only while it is being made, in one hidden folder that goes when all days are done.

<root>/.lock                  who writes here: a run, or the jobs of days (`data_prep.lock`)
<root>/.work/counts/day=00/   the keys of a day counted, until there is a vocabulary
<root>/.work/index/           the vocabulary as hash tables
<root>/.work/day=00.tmp-*     a folder in the making, of a process that lives or was killed
<root>/.work/day=00.lock      the job that writes this day
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from data_prep.atomic import TEMPORARY
from data_prep.shards import day_folder


def work_folder(root: Path) -> Path:
    return root / ".work"


def counts_folder(root: Path, day: int) -> Path:
    return work_folder(root) / "counts" / day_folder(day)


def index_folder(root: Path) -> Path:
    return work_folder(root) / "index"


def remove_unfinished(root: Path, day: int | None = None) -> None:
    """Remove the leavings of killed processes, of one day or of all; the caller holds the lock on that."""
    for folder in work_folder(root).glob(f"{'*' if day is None else day_folder(day)}{TEMPORARY}*"):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # something else is in it, or nothing was
        work_folder(root).rmdir()


def remove_counts(root: Path) -> None:
    """Make room once the counts are added up; the caller holds the lock on the whole output."""
    shutil.rmtree(work_folder(root) / "counts", ignore_errors=True)


def remove_work(root: Path) -> None:
    """Remove everything; the caller holds the lock on the whole output."""
    shutil.rmtree(work_folder(root), ignore_errors=True)
