"""How far a day's job is, as lines of JSON in the work folder, for whoever started it: `launch` shows them."""

from __future__ import annotations

import json
import time
from pathlib import Path

from data_prep.inputs import DaySource
from data_prep.shards import day_folder
from data_prep.work_folder import work_folder

SECONDS_BETWEEN_LINES = 1.0


class JobProgress:
    """Called with the bytes read and the rows handled so far, as a job of `data_prep.pool` reports them."""

    def __init__(self, root: Path, stage: str, source: DaySource) -> None:
        self._path = progress_file(root, stage, source.day)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._total = max(1, source.size)
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, rows: int) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES or not done:
            return
        self._last, seconds, share = now, now - self._start, done / self._total
        line = {"share": share, "rows": rows, "rows_per_second": rows / seconds, "seconds_left": seconds * (1 / share - 1)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def progress_file(root: Path, stage: str, day: int) -> Path:
    return work_folder(root) / "progress" / f"{stage}-{day_folder(day)}.jsonl"
