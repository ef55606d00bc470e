"""How far along a long job is: a bar on a terminal, a plain line every two seconds elsewhere, with rate and time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

SECONDS_BETWEEN_LINES = 2.0


class Progress:
    """`update` with the work done so far, in any unit, and the rows handled; the text goes to stderr.

    Use as a context manager. `total` is the work in all, in the unit of `done`.
    """

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = max(total, 1)
        self._start = self._last_line = time.monotonic()
        self._bar: Any = _make_bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task(title, total=self._total, text="") if self._bar else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, rows: int) -> None:
        now = time.monotonic()
        text = _describe(done / self._total, rows, now - self._start)
        if self._bar:
            self._bar.update(self._task, completed=done, text=text)
        elif done and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(f"{self._title}: {100 * done / self._total:3.0f} %  {text}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03`; `0:00` for none."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _describe(share: float, rows: int, seconds: float) -> str:
    left = duration(seconds * (1 - share) / share) if share > 0 else "-:--"
    return f"{rows:,} rows  {rows / max(seconds, 1e-9):,.0f} rows/s  {left} left"


def _make_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[text]}"))
    return RichProgress(*columns, console=Console(stderr=True))
