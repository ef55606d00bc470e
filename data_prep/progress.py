"""How far along a long job is, all in all and day by day: bars on a terminal, a plain line every two seconds elsewhere, each
with rates and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

SECONDS_BETWEEN_LINES = 2.0


@dataclass
class _Bar:
    """One thing that has a beginning, a pace and an end. `total` and `done` in the same unit."""

    name: str
    total: int
    start: float | None = None
    end: float | None = None
    done: int = 0
    rows: int = 0

    @property
    def running(self) -> bool:
        return self.start is not None and self.end is None

    def update(self, done: int, rows: int, before: float, now: float) -> None:
        """Counts as of `now`; what has moved for the first time began after the update `before`."""
        if self.start is None and done:
            self.start = before
        if self.end is None and done >= self.total:
            self.end = now
        self.done, self.rows = done, rows

    def share(self) -> float:
        return min(self.done / self.total, 1.0)

    def seconds(self, now: float) -> float:
        return (now if self.end is None else self.end) - (now if self.start is None else self.start)

    def left(self, now: float) -> str:
        return f"{duration(self.seconds(now) * (1 - self.share()) / self.share())} left" if self.done else "-:-- left"

    def pace(self, now: float, in_bytes: bool) -> str:
        seconds = max(self.seconds(now), 1e-9)
        megabytes = f"  {self.done / seconds / 1e6:,.1f} MB/s" if in_bytes else ""
        return f"{self.rows:,} rows  {self.rows / seconds:,.0f} rows/s{megabytes}"


class Progress:
    """`update` with the work done so far, in any unit, and the rows handled; the text goes to stderr.

    Use as a context manager. `total` is the work in all, in the unit of `done`; `in_bytes` says that it is bytes of files as
    they lie on disk, and shows them a second. `days` names the tasks that the work consists of, each with its own total.
    """

    def __init__(self, title: str, total: int, days: Sequence[tuple[str, int]] = (), in_bytes: bool = False) -> None:
        self._last_line = self._last_update = time.monotonic()
        self._all = _Bar(title, max(total, 1), self._last_line)
        self._days = [_Bar(name, max(size, 1)) for name, size in days]
        self._in_bytes = in_bytes
        self._screen = _Screen() if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        if self._screen:
            self._screen.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._screen:
            self._screen.bars.stop()

    def update(self, done: int, rows: int, each: Sequence[Sequence[int]] = ()) -> None:
        """`each` has the work done and the rows of each of the `days`; it is not looked at where none were named."""
        before, now = self._last_update, time.monotonic()
        self._all.done, self._all.rows = done, rows
        ended = []
        for day, counts in zip(self._days, each, strict=False):
            was_running = day.end is None
            day.update(counts[0], counts[1], before, now)
            if was_running and day.end is not None:
                ended.append(day)
        self._last_update = now
        if self._screen:
            self._screen.show(self._all, self._days, now, self._in_bytes)
        else:
            self._print(ended, now)

    def _print(self, ended: Sequence[_Bar], now: float) -> None:
        title = self._all.name
        for day in ended:
            if day.seconds(now) >= SECONDS_BETWEEN_LINES:
                print(f"{title}: {day.name} in {duration(day.seconds(now))}  {day.pace(now, self._in_bytes)}", file=sys.stderr, flush=True)
        if self._all.done and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            print("  ".join(self._line(now)), file=sys.stderr, flush=True)

    def _line(self, now: float) -> Iterator[str]:
        yield f"{self._all.name}: {100 * self._all.share():3.0f} %"
        yield self._all.pace(now, self._in_bytes)
        yield self._all.left(now)
        if running := [f"{day.name} {100 * day.share():.0f} % {day.left(now)}" for day in self._days if day.running]:
            yield f"({', '.join(running)})"


class _Screen:
    """The bars of a terminal: the whole, and the days that are being worked on."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[text]}"))
        self.bars: Any = Bars(*columns, console=Console(stderr=True))
        self._ids: dict[str, Any] = {}

    def show(self, whole: _Bar, days: Sequence[_Bar], now: float, in_bytes: bool) -> None:
        for bar in (whole, *(day for day in days if day.running)):
            if bar.name not in self._ids:
                self._ids[bar.name] = self.bars.add_task(bar.name, total=bar.total, text="")
            self.bars.update(self._ids[bar.name], completed=bar.done, text=f"{bar.pace(now, in_bytes)}  {bar.left(now)}")
        for day in days:
            if day.end is not None and day.name in self._ids:
                self.bars.remove_task(self._ids.pop(day.name))


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03`; `0:00` for none."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
