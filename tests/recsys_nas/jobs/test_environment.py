"""How a job's process ends: at once, with what it said and an exit code that tells who is to blame."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, threading
from recsys_nas.config import ConfigError
from recsys_nas.jobs.environment import run_job

def main():
    print("said")
    atexit.register(print, "lingered")
    threading.Thread(target=threading.Event().wait).start()  # would keep the process for ever

def refuse():
    raise ConfigError("search.batch_size = 0: must be above 0")

run_job({})
"""
PATIENCE_SECONDS = 60


def _run(function: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", PROGRAM.format(function)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_job_that_is_done_ends_at_once_and_loses_nothing_it_said() -> None:
    assert _run("main") == (0, "said\n", "")


def test_bad_input_ends_it_with_a_line() -> None:
    assert _run("refuse") == (2, "", "error: search.batch_size = 0: must be above 0\n")
