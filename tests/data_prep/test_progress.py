"""Rates and time left, all in all and by day: bars on a terminal, a line every two seconds elsewhere. The clock is the test's."""

from __future__ import annotations

import io
import sys

import pytest

from data_prep.progress import Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def test_a_line_every_two_seconds_where_nobody_watches(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("verify", 1000) as progress:
        for step in range(1, 21):
            clock.now += 0.5
            progress.update(50 * step, 100 * step)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0] == ("verify:  20 %  400 rows  200 rows/s  0:08 left")
    assert lines[-1] == "verify: 100 %  2,000 rows  200 rows/s  0:00 left"
    assert not any("MB/s" in line for line in lines), "the unit of the work is not bytes"


def test_a_short_job_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("verify", 10) as progress:
        clock.now += 1.9
        progress.update(10, 10)
    assert capsys.readouterr().err == ""


def test_each_day_has_its_own_pace_and_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    days = [("day 0", 40_000_000), ("day 1", 80_000_000), ("day 2", 40_000_000)]
    with Progress("run", 160_000_000, days, in_bytes=True) as progress:
        clock.now = 102
        progress.update(30_000_000, 300, [(20_000_000, 200), (10_000_000, 100), (0, 0)])
        clock.now = 104
        progress.update(60_000_000, 600, [(40_000_000, 400), (20_000_000, 200), (0, 0)])
        clock.now = 107
        progress.update(90_000_000, 900, [(40_000_000, 400), (40_000_000, 400), (10_000_000, 100)])
    assert capsys.readouterr().err.splitlines() == [
        "run:  19 %  300 rows  150 rows/s  15.0 MB/s  0:09 left  (day 0 50 % 0:02 left, day 1 12 % 0:14 left)",
        "run: day 0 in 0:04  400 rows  100 rows/s  10.0 MB/s",
        "run:  38 %  600 rows  150 rows/s  15.0 MB/s  0:07 left  (day 1 25 % 0:12 left)",
        # Day 2 began after the update before, at 104: a quarter of it in 3 seconds.
        "run:  56 %  900 rows  129 rows/s  12.9 MB/s  0:05 left  (day 1 50 % 0:07 left, day 2 25 % 0:09 left)",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal_are_those_of_the_whole_and_of_the_days_under_way(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "160")
    with Progress("run", 100, [("day 0", 50), ("day 1", 50)], in_bytes=True) as progress:
        screen = progress._screen
        assert screen is not None
        clock.now += 1
        progress.update(60, 6, [(50, 5), (10, 1)])
        clock.now += 1
        progress.update(70, 7, [(50, 5), (20, 2)])
        assert [(task.description, task.completed) for task in screen.bars.tasks] == [("run", 70), ("day 1", 20)]
        assert screen.bars.tasks[1].fields["text"] == "2 rows  1 rows/s  0.0 MB/s  0:03 left"
    assert "run" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
