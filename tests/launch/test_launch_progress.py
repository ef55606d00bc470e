"""What a run shows: figures read while a job writes them, guesses at the time left, and the text of it all."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from launch.causes import Failure
from launch.figures import Figures, read_figures
from launch.jobs import Job
from launch.progress import Lines, LiveTable, Tally, _state, describe, progress
from launch.quantities import count, duration
from launch.queue import Attempt


def job(tmp_path: Path, name: str = "retrain-mlp", seeds: int = 1, module: str = "m") -> Job:
    return Job(name, module, (), tuple(tmp_path / name / f"seed={seed}" for seed in range(seeds)), "result.json")


def write(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"rows": 50, "total_rows": 200, "loss": 0.5, "ne": 0.9312, "rows_per_second": 50.0, "seconds_left": 3.0} | changes
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_figures_of_a_job_with_several_seeds(tmp_path: Path) -> None:
    mlp = job(tmp_path, seeds=4)
    assert read_figures(mlp, since=0) is None
    write(mlp.folders[0], rows=200)
    (mlp.folders[0] / "result.json").touch()
    write(mlp.folders[1], rows=10)
    write(mlp.folders[1])
    assert read_figures(mlp, since=time.time() + 10) is None, "figures of an earlier attempt are no news"
    figures = read_figures(mlp, since=0)
    assert figures is not None
    assert figures.share == pytest.approx((1 + 0.25) / 4)
    assert figures.seconds_left == pytest.approx(3.0 + 2 * 200 / 50)


def test_a_half_written_line_is_not_read(tmp_path: Path) -> None:
    mlp = job(tmp_path)
    write(mlp.folders[0])
    with (mlp.folders[0] / "metrics.jsonl").open("a") as file:
        file.write('{"rows": 190, "tot')
    figures = read_figures(mlp, since=0)
    assert figures is not None
    assert figures.rows == 50
    (mlp.folders[0] / "metrics.jsonl").write_text("not json\n")
    assert read_figures(mlp, since=0) is None


def test_texts() -> None:
    assert describe(Figures(0.45, 90, 200, 16_210.0, 0.44, 0.9312, 8.2)) == "45 %  16.2k rows/s  NE 0.931  8 s left"
    assert describe(Figures(0.45, loss=0.44)) == "45 %  loss 0.4400"
    assert [count(n) for n in (950, 16_200, 1_340_000)] == ["950", "16.2k", "1.3M"]
    assert [duration(s) for s in (8.4, 59.7, 61, 3599, 3601, 7500)] == ["8 s", "1 min", "1 min", "1 h 00 min", "1 h 00 min", "2 h 05 min"]


def test_time_left_is_guessed_from_like_jobs(tmp_path: Path) -> None:
    tally = Tally(total=5, slots=2)
    waiting = [job(tmp_path, "a", module="search"), job(tmp_path, "b", module="retrain")]
    assert tally.line([], waiting) == "0/5 jobs"
    done = Attempt(job(tmp_path, "c", module="search"), 1, tmp_path, 0, started=time.time() - 40)
    tally.add(done)
    assert tally.seconds_left([], waiting) == pytest.approx(40, abs=1), "40 s each, two at once"
    running = Attempt(job(tmp_path, "d", module="retrain"), 1, tmp_path, 0, started=time.time() - 10)
    assert tally.seconds_left([(running, Figures(0.1, seconds_left=90.0))], waiting) == pytest.approx((90 + 40 + 100) / 2, abs=1)
    assert tally.line([], []) == "1/5 jobs"


def test_lines_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.progress.FIRST_PAUSE_SECONDS", 0.0)
    out = io.StringIO()
    mlp = job(tmp_path)
    attempt = Attempt(mlp, 2, tmp_path, 0, started=time.time() - 0.3)  # file times are coarser than the clock
    with progress(Console(file=out, width=40), Tally(3, 1)) as lines:
        assert type(lines) is Lines
        lines.started(attempt)
        lines.update([attempt], [])
        write(mlp.folders[0])
        lines.update([attempt], [])
        lines.update([attempt], [])
        lines.failed(attempt, Failure("no [bold]luck"), again_in=2.0)
        lines.finished(attempt)
    assert out.getvalue().splitlines() == [
        f"[retrain mlp] started again (attempt 2); log {tmp_path}",
        "[retrain mlp] 25 %  50 rows/s  NE 0.931  3 s left",
        f"[retrain mlp] failed after 0 s: no [bold]luck; log {tmp_path}; trying again in 2 s",
        "[retrain mlp] done in 0 s; 1/3 jobs",
    ]


def test_table_on_a_terminal(tmp_path: Path) -> None:
    out = io.StringIO()
    mlp, dlrm = job(tmp_path), job(tmp_path, "retrain-dlrm")
    write(mlp.folders[0])
    with progress(Console(file=out, width=200, height=30, force_terminal=True), Tally(3, 1)) as table:
        assert isinstance(table, LiveTable)
        table.update([Attempt(mlp, 1, tmp_path, 0, ranks=4, started=0.0)], [dlrm])
    shown = [" ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).split()) for line in out.getvalue().splitlines()]
    assert any(line.endswith("job state ranks done rows/s loss NE left log") for line in shown), shown
    assert f"retrain mlp running 4 25 % 50 0.5000 0.931 3 s {tmp_path}" in shown
    for text in ("retrain dlrm", "waiting", "0/3 jobs"):
        assert text in out.getvalue()


def test_states_in_the_table(tmp_path: Path) -> None:
    attempt = Attempt(job(tmp_path), 2, tmp_path, 0)
    assert _state(attempt, None) == "queued (attempt 2)"
    attempt.running_since = time.time()
    assert _state(attempt, None) == "starting (attempt 2)"
    attempt.number = 1
    assert _state(attempt, Figures()) == "running"
