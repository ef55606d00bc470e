"""Jobs in processes: results in order, faults raised, and nobody left behind when the run is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.pool import Report, default_workers, run_tasks
from data_prep.progress import Progress

SCRIPT = Path(__file__).with_name("pool_of_sleepers.py")


def fail_on_two(task: int, report: Report) -> int:
    report(task, 10 * task)
    if task == 2:
        raise DataError("task 2 cannot be done")
    return task * task


class Recorder(Progress):
    def __init__(self) -> None:
        super().__init__("test", 10)
        self.seen: list[tuple[int, int]] = []
        self.each: list[list[int]] = []

    def update(self, done: int, rows: int, each: Sequence[Sequence[int]] = ()) -> None:
        self.seen.append((done, rows))
        self.each.append([task_done for task_done, _ in each])


def test_one_worker_runs_here_and_reports_sums() -> None:
    progress = Recorder()
    assert run_tasks(fail_on_two, [3, 1, 4], 1, progress) == [9, 1, 16]
    assert progress.seen == [(3, 30), (4, 40), (8, 80)]
    assert progress.each == [[3, 0, 0], [3, 1, 0], [3, 1, 4]]


def test_a_fault_is_raised() -> None:
    with pytest.raises(DataError, match="task 2"):
        run_tasks(fail_on_two, [1, 2], 1, Recorder())


def test_there_is_at_least_one_worker() -> None:
    assert default_workers() >= 1


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: object, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_workers_end_with_the_run(number: signal.Signals, code: int, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    here = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen(command, env=here, start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
        os.killpg(parent.pid, number) if number == signal.SIGINT else parent.send_signal(number)
        _, said = parent.communicate(timeout=60)
        assert parent.returncode == code
        assert "Traceback" not in said
        assert wait_until(lambda: not any(map(alive, workers)))
    finally:
        if parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL)
