"""Shows how a run goes: a live table on a terminal, plain lines elsewhere (a file, or `torchx run`, which tails a log)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from data_prep.wording import counted
from launch.causes import Failure
from launch.figures import Figures, read_figures
from launch.jobs import Job
from launch.quantities import count, duration
from launch.queue import Attempt

FIRST_PAUSE_SECONDS = 2.5
LONGEST_PAUSE_SECONDS = 60.0
SHOWN_WAITING = 10

Running = Sequence[tuple[Attempt, Figures | None]]


@dataclass
class Tally:
    """Counts the jobs of a run, and guesses the time left from how long their like took."""

    total: int
    slots: int
    done: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, attempt: Attempt) -> None:
        self.done += 1
        self.seconds.setdefault(attempt.job.module, []).append(attempt.seconds)

    def seconds_left(self, running: Running, waiting: Sequence[Job]) -> float | None:
        """None while there is nothing to guess from."""
        typical = {module: statistics.fmean(seconds) for module, seconds in self.seconds.items()}
        for attempt, figures in running:
            if figures and figures.seconds_left is not None:
                typical.setdefault(attempt.job.module, attempt.seconds + figures.seconds_left)
        if not typical:
            return None
        other = statistics.fmean(typical.values())
        ahead = [typical.get(job.module, other) for job in waiting]
        for attempt, figures in running:
            guess = typical.get(attempt.job.module, other) - attempt.seconds
            ahead.append(max(0.0, guess) if figures is None or figures.seconds_left is None else figures.seconds_left)
        return max([sum(ahead) / self.slots, *ahead])

    def line(self, running: Running, waiting: Sequence[Job]) -> str:
        """`12/25 jobs, about 3 min left`."""
        left = self.seconds_left(running, waiting) if running or waiting else None
        return f"{self.done}/{counted(self.total, 'job')}" + ("" if left is None else f", about {duration(left)} left")


class Lines:
    """One line for each event, and now and then one for the running job that was silent for longest.

    The pause between those grows with the age of the run, so that a log of a day-long run stays readable.
    """

    def __init__(self, console: Console, tally: Tally) -> None:
        self.console = console
        self.tally = tally
        self._begun = self._last = time.monotonic()
        self._shown: dict[str, tuple[float, Figures]] = {}
        self._running: list[Attempt] = []
        self._waiting: list[Job] = []

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, attempt: Attempt) -> None:
        again = f" again (attempt {attempt.number})" if attempt.number > 1 else ""
        started = "still runs, taken over" if attempt.taken_over else f"started{again}"
        self.say(f"[{attempt.job.title}] {started}; log {attempt.log}")

    def finished(self, attempt: Attempt) -> None:
        self.tally.add(attempt)
        self._running = [other for other in self._running if other is not attempt]
        self.say(f"[{attempt.job.title}] done in {duration(attempt.seconds)}; {self.tally.line(self._figures(), self._waiting)}")

    def failed(self, attempt: Attempt, why: Failure, again_in: float | None) -> None:
        then = "" if again_in is None else f"; trying again in {duration(again_in)}"
        self.say(f"[{attempt.job.title}] failed after {duration(attempt.seconds)}: {why.cause}; log {attempt.log}{then}")

    def update(self, running: Sequence[Attempt], waiting: Sequence[Job]) -> None:
        self._running, self._waiting = list(running), list(waiting)
        now = time.monotonic()
        if now < self._last + min(max(FIRST_PAUSE_SECONDS, (now - self._begun) / 60), LONGEST_PAUSE_SECONDS):
            return
        self._last = now
        if news := [(attempt, figures) for attempt, figures in self._figures() if figures and figures != self._last_shown(attempt)[1]]:
            attempt, figures = min(news, key=lambda pair: self._last_shown(pair[0])[0])
            self._shown[attempt.handle] = (now, figures)
            self.say(f"[{attempt.job.title}] {describe(figures)}")

    def _last_shown(self, attempt: Attempt) -> tuple[float, Figures | None]:
        return self._shown.get(attempt.handle, (0.0, None))

    def _figures(self) -> list[tuple[Attempt, Figures | None]]:
        return [(attempt, read_figures(attempt.job, attempt.started)) for attempt in self._running]


class LiveTable(Lines):
    """A table of the jobs in work at the foot of the terminal; events scroll by above it."""

    def __init__(self, console: Console, tally: Tally, live: Live) -> None:
        super().__init__(console, tally)
        self._live = live

    def started(self, attempt: Attempt) -> None:
        """Nothing to say: the table shows it."""

    def update(self, running: Sequence[Attempt], waiting: Sequence[Job]) -> None:
        self._running, self._waiting = list(running), list(waiting)
        self._live.update(self._table())

    def _table(self) -> Table:
        rows = self._figures()
        table = Table(box=None, pad_edge=False, caption=self.tally.line(rows, self._waiting), caption_justify="left")
        table.add_column("job", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for title in ("ranks", "done", "rows/s", "loss", "NE", "left"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("log", overflow="fold")
        for attempt, figures in rows:
            table.add_row(attempt.job.title, _state(attempt, figures), str(attempt.ranks), *_cells(figures), str(attempt.log))
        for job in self._waiting[:SHOWN_WAITING]:
            table.add_row(job.title, "waiting", style="dim")
        return table


@contextmanager
def progress(console: Console, tally: Tally) -> Iterator[Lines]:
    """The way to show a run on this console."""
    if not console.is_terminal:
        yield Lines(console, tally)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveTable(console, tally, live)


def describe(figures: Figures) -> str:
    """`45 %  16.2k rows/s  NE 0.931  8 s left`, as far as it is known."""
    done, rate, loss, ne, left = _cells(figures)
    quality = f"NE {ne}" if ne else f"loss {loss}" if loss else ""
    pieces = (done, f"{rate} rows/s" if rate else "", quality, f"{left} left" if left else "")
    return "  ".join(piece for piece in pieces if piece)


def _state(attempt: Attempt, figures: Figures | None) -> str:
    """A cluster's own queue keeps a job until it runs; what runs is starting until it has told its first figures."""
    state = "running" if figures else "starting" if attempt.running_since else "queued"
    return state if attempt.number == 1 else f"{state} (attempt {attempt.number})"


def _cells(figures: Figures | None) -> tuple[str, str, str, str, str]:
    """Share done, rows a second, loss, NE and time left as text, empty where unknown."""
    if figures is None:
        return ("", "", "", "", "")
    return (
        f"{figures.share:.0%}".replace("%", " %"),
        "" if figures.rows_per_second is None else count(figures.rows_per_second),
        "" if figures.loss is None else f"{figures.loss:.4f}",
        "" if figures.ne is None else f"{figures.ne:.3f}",
        "" if figures.seconds_left is None else duration(figures.seconds_left),
    )
