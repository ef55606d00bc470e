"""A command under `launch.child` is the command itself, and does not outlive its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

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


STARTS_IT = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")


@ON_LINUX
@pytest.mark.parametrize(("options", "deafness"), [((), "trap '' TERM"), (("--ask",), ":")])
def test_it_dies_with_its_parent(options: tuple[str, ...], deafness: str) -> None:
    """Even when it does not listen; with --ask only when it does."""
    ready = [*CHILD, *options, "sh", "-c", f"{deafness}; echo ready; exec sleep 600"]
    with subprocess.Popen([sys.executable, "-c", STARTS_IT, *ready], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        os.kill(parent.pid, signal.SIGKILL)
        # the pipe ends when the last process that holds it does: sleep
        assert parent.stdout.read() == b""


@ON_LINUX
def test_asked_to_end_it_may_tidy_up(tmp_path: Path) -> None:
    command = [*CHILD, "--ask", "sh", "-c", f"trap 'touch {tmp_path}/tidy; exit' TERM; echo ready; while :; do sleep 0.05; done"]
    with subprocess.Popen([sys.executable, "-c", STARTS_IT, *command], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.read() == b""
    assert (tmp_path / "tidy").exists()


@ON_LINUX
def test_a_parent_that_is_gone_already() -> None:
    """It died before the wish was made: nothing is started. The variable names the right parent to what the command starts."""
    gone = subprocess.run([*CHILD, "echo", "started"], env={**os.environ, "LAUNCH_CHILD_PARENT": "1"}, capture_output=True, check=False)
    assert (gone.returncode, gone.stdout) == (1, b"")
    nested = [*CHILD, sys.executable, "-c", f"import subprocess; subprocess.run({[*CHILD, 'echo', 'started']!r}, check=True)"]
    assert subprocess.run(nested, capture_output=True, check=True).stdout == b"started\n"
