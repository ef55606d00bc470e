"""One line for each way in which a job can fail, from logs as TorchX and torchrun lay them out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from launch.causes import LONGEST, Failure, failure

AGENT = "torchx/search-day-3-abc/search_day/0/stderr.log"
RANK = "ranks/search-day-3-abc_x/attempt_0/{}/stderr.log"
SUMMARY = """Traceback (most recent call last):
  File "torchrun", line 8, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
==========
  exitcode  : {} (pid: 123)
"""


def logs(folder: Path, **files: str) -> Path:
    """Files below `folder`, each older than the next; `rank0` and `agent` stand for their paths."""
    for age, (name, text) in enumerate(reversed(files.items())):
        path = folder / (AGENT if name == "agent" else RANK.format(name[4:]) if name.startswith("rank") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1e9 - age, 1e9 - age))
    return folder


def traceback(message: str) -> str:
    return f'warning\nTraceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f()\n{message}\nmore'


def test_the_rank_that_failed_first_is_quoted(tmp_path: Path) -> None:
    folder = logs(tmp_path, rank1=traceback("RuntimeError: the cause"), rank0=traceback("RuntimeError: peer gone"), agent=SUMMARY.format(1))
    assert failure(folder, "FAILED") == Failure("RuntimeError: the cause")


def test_last_of_chained_tracebacks_counts(tmp_path: Path) -> None:
    assert failure(logs(tmp_path, rank0=traceback("KeyError: 1") + "\n" + traceback("a.b.Oops: two")), "FAILED").cause == "a.b.Oops: two"


@pytest.mark.parametrize("line", ["error: no such day", "job.py: error: no such day"])
def test_a_users_mistake_goes_before_all_else(tmp_path: Path, line: str) -> None:
    folder = logs(tmp_path, rank0=f"{traceback('x.ConfigError: no')}\n{line}\n", agent=SUMMARY.format(2))
    assert failure(folder, "FAILED") == Failure("no such day", user_error=True)


def test_error_file_goes_before_tracebacks(tmp_path: Path) -> None:
    files = {
        "error.json": json.dumps({"message": {"message": "ValueError: in the file\nsecond line"}}),
        "rank0": traceback("E: in the log"),
    }
    assert failure(logs(tmp_path, **files), "FAILED").cause == "ValueError: in the file"
    (tmp_path / "error.json").write_text("{half")
    assert failure(tmp_path, "FAILED").cause == "E: in the log"


def test_killed_rank(tmp_path: Path) -> None:
    text = SUMMARY.format(-9) + "  traceback : Signal 9 (SIGKILL) received by PID 123\n"
    assert failure(logs(tmp_path, rank0="step 1", agent=text), "FAILED").cause == "a process was killed by SIGKILL (out of memory?)"


def test_last_resorts(tmp_path: Path) -> None:
    assert failure(tmp_path, "CANCELLED").cause == "ended as CANCELLED without a message, as when it is killed"
    assert failure(logs(tmp_path, agent="one\n" + "x" * 1000), "FAILED").cause == "x" * LONGEST + "..."
