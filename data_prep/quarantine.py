"""Rows that could not be used: counted, written down with line and reason, and too many of them stop the day."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import DataError

if TYPE_CHECKING:
    from data_prep.criteo_tsv import BadRow

MAX_WRITTEN = 1000
HOPELESS_AFTER_LINES = 100_000


class Quarantine:
    """The bad rows of one file; the first 1000 go to `path`, one JSON object a line, the others are only counted."""

    def __init__(self, path: Path, source: Path) -> None:
        self._path = path
        self._source = source
        self.by_fault: Counter[str] = Counter()
        self._first = ""

    @property
    def count(self) -> int:
        return self.by_fault.total()

    def add(self, rows: Sequence[BadRow], lines_before: int) -> None:
        """Take in bad rows whose `line` counts from 0 after the `lines_before` lines before their block."""
        written = rows[: max(0, MAX_WRITTEN - self.count)]
        if written:
            with self._path.open("a", encoding="utf-8") as file:
                for row in written:
                    record = {"file": self._source.name, "line": lines_before + row.line + 1, "reason": row.reason, "text": row.text}
                    file.write(json.dumps(record) + "\n")
        if rows and not self.count:
            self._first = f"line {lines_before + rows[0].line + 1}: {rows[0].reason}"
        self.by_fault.update(row.fault.name.lower() for row in rows)

    def check(self, lines: int, max_share: float, keep_at: Path, finished: bool) -> None:
        """Raise DataError when more than `max_share` of the file's lines are bad, or early when most are hopeless.

        The quarantine file is then kept at `keep_at`, since the day's folder is discarded.
        """
        limit = max_share if finished else max(max_share, 0.5)
        if self.count <= limit * lines or not (finished or lines >= HOPELESS_AFTER_LINES):
            return
        shutil.copyfile(self._path, keep_at)
        share = f"{self.count:,} of {lines:,} rows are bad ({100 * self.count / lines:.3g} %, allowed {100 * max_share:g} %)"
        raise DataError(f"{self._source}: {share}, the first at {self._first}; see {keep_at}, or raise --max-bad-share")
