"""Rows that could not be used: counted, written down with line and reason, and too many of them stop the day."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import DataError
from data_prep.inputs import LogFile
from data_prep.sources import BadRow

MAX_WRITTEN = 1000
HOPELESS_AFTER_LINES = 100_000


class Quarantine:
    """The bad rows of a day; the first 1000 go to `path`, one JSON object a line, the others are only counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = LogFile(Path(), 0)
        self._file_lines = 0
        self._first = ""
        self.by_fault: Counter[str] = Counter()
        self.lines = 0

    @property
    def count(self) -> int:
        return self.by_fault.total()

    def begin(self, file: LogFile) -> None:
        """The rows from now on are those of `file`, from its first line on."""
        self._file, self._file_lines = file, 0

    def add(self, rows: Sequence[BadRow], lines: int) -> None:
        """Take in the next `lines` lines of the file, and the bad rows among them, whose `line` counts from 0 there."""
        written = rows[: max(0, MAX_WRITTEN - self.count)]
        if written:
            with self._path.open("a", encoding="utf-8") as out:
                for row in written:
                    record = {"file": self._file.path.name, "line": self._file_lines + row.line + 1, "reason": row.reason, "text": row.text}
                    out.write(json.dumps(record) + "\n")
        if rows and not self.count:
            self._first = f"line {self._file_lines + rows[0].line + 1} of {self._file}: {rows[0].reason}"
        self.by_fault.update(row.fault.name.lower() for row in rows)
        self.lines += lines
        self._file_lines += lines

    def check(self, max_share: float, keep_at: Path, finished: bool) -> None:
        """Raise DataError when more than `max_share` of the day's rows are bad, or early when most are hopeless.

        The quarantine file is then kept at `keep_at`, since the day's folder is discarded.
        """
        limit = max_share if finished else max(max_share, 0.5)
        if self.count <= limit * self.lines or not (finished or self.lines >= HOPELESS_AFTER_LINES):
            return
        shutil.copyfile(self._path, keep_at)
        share = f"{self.count:,} of {self.lines:,} rows are bad ({100 * self.count / self.lines:.3g} %, allowed {100 * max_share:g} %)"
        raise DataError(f"{share}, the first at {self._first}; see {keep_at}, or raise --max-bad-share")
