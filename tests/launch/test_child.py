"""A command under `launch.child` is the command itself, and does not outlive its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

CHILD = [sys.executable, "-m", "launch.child"]


def test_it_becomes_the_command() -> None:
    done = subprocess.run([*CHILD, "sh", "-c", "echo $$; exit 7"], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stdout.strip().isdigit()


@pytest.mark.parametrize(
    ("command", "code", "said"), [(["no-such-command"], 127, "error: cannot run no-such-command: "), ([], 2, "error: name a")]
)
def test_bad_commands(command: list[str], code: int, said: str) -> None:
    done = subprocess.run([*CHILD, *command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
def test_it_dies_with_its_parent() -> None:
    script = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
    ready = [*CHILD, "sh", "-c", "echo ready; exec sleep 600"]
    with subprocess.Popen([sys.executable, "-c", script, *ready], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        os.kill(parent.pid, signal.SIGKILL)
        # the pipe ends when the last process that holds it does: sleep
        assert parent.stdout.read() == b""
