"""The lock on a run folder, against another process that holds it, died with it, or sits on another host."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import lock
from launch.errors import LaunchError
from launch.lock import run_lock
from recsys_nas.report.runs import CONTROLLER_LOCK

HOLD = "import sys, pathlib; from launch.lock import run_lock\nwith run_lock(pathlib.Path(sys.argv[1])):\n  print(flush=True); input()"


def test_second_controller_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with (
            pytest.raises(LaunchError, match=f"{tmp_path} is in use .*process {holder.pid} on {socket.gethostname()}, started . s ago"),
            run_lock(tmp_path),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert str(holder.pid) in (tmp_path / CONTROLLER_LOCK).read_text()
    with run_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / CONTROLLER_LOCK).read_text()
    assert (tmp_path / CONTROLLER_LOCK).read_text() == ""


def test_holder_on_another_host_is_believed(tmp_path: Path) -> None:
    (tmp_path / CONTROLLER_LOCK).write_text('{"host": "elsewhere", "pid": 7}')
    with pytest.raises(LaunchError, match=f"process 7 on elsewhere.*delete {tmp_path / CONTROLLER_LOCK}"), run_lock(tmp_path):
        pass
    (tmp_path / CONTROLLER_LOCK).write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": time.time() - 7300}))
    os.utime(tmp_path / CONTROLLER_LOCK, (0, time.time() - 120))
    said = "process 7 on elsewhere, started 2 h 02 min ago, which last gave a sign of life 2 min ago"
    with pytest.raises(LaunchError, match=said), run_lock(tmp_path):
        pass
    (tmp_path / CONTROLLER_LOCK).write_text("half a wri")
    with run_lock(tmp_path):
        pass


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SIGN_OF_LIFE_SECONDS", 0.01)
    with run_lock(tmp_path):
        os.utime(tmp_path / CONTROLLER_LOCK, (0, 0))
        end = time.monotonic() + 10
        while (tmp_path / CONTROLLER_LOCK).stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
