"""Logs whose rows carry their day in a column: each log is first divided among its days, then a day is read like any other.

A log in order of time could be read once per day by skipping, but CSV cannot be skipped into and a log need not be in order,
so that D days would cost D readings. Dividing costs one reading of the log, one writing and one reading of its days (Arrow
files, compressed by lz4), in the memory of one batch and whatever the number of days; each log is a task of its own. A line
that has no day, since it is no row or its date cannot be read, is counted as bad on the day of the row before it.

<root>/split.json                          the days of every log divided so far, so that a finished run can tell itself so
<root>/.work/split/<log>/day=00/<name>     the rows of day 0 of one log, until all days are made
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.atomic import whole_folder, write_json
from data_prep.disk import require_free
from data_prep.errors import DataError
from data_prep.inputs import DaySource, LogFile, local_log
from data_prep.lock import exclusive
from data_prep.pool import Report, run_tasks
from data_prep.progress import Progress
from data_prep.quarantine import HOPELESS_AFTER_LINES
from data_prep.shards import day_folder, read_json
from data_prep.work_folder import remove_unfinished, work_folder

if TYPE_CHECKING:
    from data_prep.table_files import Rows
    from data_prep.table_format import TableFormat

SPLIT = "split.json"
SPLIT_BYTES_PER_RAW_BYTE = 1.5
MAX_DAYS_A_LOG = 500
"""As many files are open at once."""


@dataclass(frozen=True)
class SplitTask:
    """One log to divide among its days under `root`."""

    log: LogFile
    format: TableFormat
    root: Path

    @property
    def key(self) -> str:
        """Of this log and these rules: all that decides which cells are read, and on which day they are."""
        rules = [dict(self.format.parameters), self.format.table.columns, self.format.header, self.format.table.day.days]
        what = json.dumps([str(self.log), self.log.size, *rules])
        return hashlib.sha256(what.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return work_folder(self.root) / "split" / self.key


def split_by_day(logs: Sequence[LogFile], format: TableFormat, root: Path, workers: int) -> tuple[DaySource, ...]:
    """The days of all logs, in order; those that are not finished in `root` have files with their rows in its work folder.

    What was divided before is not divided again. Raises DataError for an unusable log, when no log has a row, and when the
    disk is too small.
    """
    tasks = [SplitTask(log, format, root) for log in logs]
    with exclusive(root):
        remove_unfinished(root)
        days_of = _days_so_far(root)
        waiting = [task for task in tasks if not _is_split(task, days_of)]
        require_free(root, SPLIT_BYTES_PER_RAW_BYTE * sum(task.log.raw_size for task in waiting))
        with Progress("split", sum(task.log.size for task in waiting)) as progress:
            found = run_tasks(split_log, waiting, workers, progress, format.preload)
        days_of |= {task.key: days for task, days in zip(waiting, found, strict=True)}
        if waiting:
            write_json(
                root / SPLIT, {task.key: {"name": str(task.log), "days": days_of[task.key]} for task in tasks} | _others(root, tasks)
            )
    days = sorted({day for task in tasks for day in days_of[task.key]})
    if not days:
        raise DataError(f"no row in {logs[0]}{f' and {len(logs) - 1} more' if len(logs) > 1 else ''}: name files that hold some")
    return tuple(_day_source(day, tasks, days_of) for day in days)


def split_log(task: SplitTask, report: Report) -> list[int]:
    """Write the rows of each day of one log to a file of its own; returns the days. Raises DataError for an unusable log."""
    from data_prep.table_dates import row_days
    from data_prep.table_files import open_table

    if task.folder.exists():  # by a run that was killed before it could say so
        return sorted(int(folder.name.partition("=")[2]) for folder in task.folder.iterdir())
    table = task.format.table
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(task.folder, work_folder(task.root)) as folder, local_log(task.log, folder) as local, ExitStack() as files:
        source = open_table(local.path, table)
        files.callback(source.close)
        days = _DayFiles(folder, task.log, files)
        lines = 0
        for rows in source.rows():
            dated = row_days(rows, table)
            days.write(dated.rows, dated.days)
            lines += len(rows.lines) + len(rows.bad)
            report(source.position, lines)
        return days.finish()


class _DayFiles:
    """The files of one log's days, open while it is read."""

    def __init__(self, folder: Path, log: LogFile, files: ExitStack) -> None:
        self._folder = folder
        self._log = log
        self._files = files
        self._writers: dict[int, Any] = {}
        self._last = -1
        self._undated: list[Rows] = []

    def write(self, rows: Rows, days: NDArray[np.int64]) -> None:
        """Rows with their days, int64 [R]; bad lines go to the day of the row before them."""
        from data_prep.table_files import split_batch

        if not len(days) and self._last < 0:
            self._undated.append(rows)
            if sum(len(held.bad) for held in self._undated) > HOPELESS_AFTER_LINES:
                raise self._no_day()
            return
        first = int(days[0]) if self._last < 0 else self._last
        before = np.searchsorted(rows.lines, [row.line for row in rows.bad]) - 1
        bad_days = np.where(before < 0, first, days[before] if len(days) else first)
        held, self._undated = self._undated, []
        for earlier in held:
            self._writer(first).write(split_batch(earlier, np.zeros(0, np.int64), earlier.bad))
        for day in np.union1d(days, bad_days).tolist():
            bad = [row for row, its in zip(rows.bad, bad_days, strict=True) if its == day]
            self._writer(day).write(split_batch(rows, np.flatnonzero(days == day), bad))
        self._last = int(days[-1]) if len(days) else self._last

    def finish(self) -> list[int]:
        """The days there are. DataError when the log has lines and none of them a day."""
        if any(held.bad for held in self._undated):
            raise self._no_day()
        return sorted(self._writers)

    def _no_day(self) -> DataError:
        first = next(row for held in self._undated for row in held.bad)
        return DataError(f"{self._log}: no line has a day; line {first.line + 1}: {first.reason}")

    def _writer(self, day: int) -> Any:
        if day not in self._writers:
            from data_prep.table_files import SplitWriter

            if len(self._writers) == MAX_DAYS_A_LOG:
                raise DataError(f"{self._log} has rows of more than {MAX_DAYS_A_LOG} days: name a later first day, or divide it")
            path = self._folder / day_folder(day) / self._log.path.name
            path.parent.mkdir()
            self._writers[day] = self._files.enter_context(SplitWriter(path))
        return self._writers[day]


def _days_so_far(root: Path) -> dict[str, list[int]]:
    path = root / SPLIT
    return {key: list(entry["days"]) for key, entry in read_json(path).items()} if path.exists() else {}


def _others(root: Path, tasks: Sequence[SplitTask]) -> dict[str, Any]:
    """What earlier runs divided and this one does not name."""
    path, ours = root / SPLIT, {task.key for task in tasks}
    return {key: entry for key, entry in read_json(path).items() if key not in ours} if path.exists() else {}


def _is_split(task: SplitTask, days_of: Mapping[str, list[int]]) -> bool:
    """Whether the days of a log are known, and their rows there or not needed any more."""
    from data_prep.day_jobs import DAY_FILE

    if task.key not in days_of:
        return False
    return task.folder.exists() or all((task.root / day_folder(day) / DAY_FILE).exists() for day in days_of[task.key])


def _day_source(day: int, tasks: Sequence[SplitTask], days_of: Mapping[str, list[int]]) -> DaySource:
    of_day = [task for task in tasks if day in days_of[task.key]]
    paths = [task.folder / day_folder(day) / task.log.path.name for task in of_day]
    files = tuple(LogFile(path, path.stat().st_size) for path in paths if path.exists())
    return DaySource(day, files, made_from=tuple(task.log for task in of_day))
