"""The whole controller as its own process, over fake jobs: a run, its continuation, and its end by signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60


def controller(
    config_file: Path, *overrides: str, plain: bool = True, modes: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    environment = os.environ | {"FAKE_JOB": json.dumps(dict(modes))} | ({"FAKE_PLAIN": "1"} if plain else {})
    command = [sys.executable, str(HERE / "fake_pipeline.py"), "--config", str(config_file), *overrides]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def processes_naming(text: str) -> list[str]:
    """Command lines of living processes that hold `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def test_run_under_torchrun_then_continue(config_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny"
    small = ("data.search_days='0'", "retrain.seeds=[0]", "launch.max_parallel=2", "launch.retries=0")
    with controller(config_file, *small, plain=False, modes={"mlp": "traceback"}) as first:
        out, err = first.communicate(timeout=PATIENCE_SECONDS)
    assert first.returncode == 1, out + err
    assert "RuntimeError: no luck with mlp; log" in out
    assert err.splitlines() == ["error: failed: retrain mlp; finished work is kept: mend the cause and run the same command again"]
    result = json.loads((run / "retrain/found/seed=0/result.json").read_text())
    assert result == {"RANK": "0", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert not (run / "results.json").exists()

    with controller(config_file, *small) as second:
        out, err = second.communicate(timeout=PATIENCE_SECONDS)
    assert (second.returncode, err) == (0, "")
    assert "1 of 3 jobs left" in out
    assert out.splitlines()[-4:] == [
        "the table",
        f"results  {run}/results.json",
        f"report   {run}/report.html",
        f"curves   tensorboard --logdir {run}",
    ]
    starts = [line for line in (run / "events.log").read_text().splitlines() if line.startswith("start")]
    assert sorted(starts) == ["start 0", "start found", "start mlp", "start mlp"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and the parent-death signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_signal_leaves_a_process_behind(config_file: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "runs" / "tiny"
    with controller(config_file, "launch.max_parallel=2", modes={"0": "hang", "1": "hang"}) as held:
        wait_until(lambda: len(list(run.glob("days/*/tried"))) == 2, "both jobs")
        assert len(processes_naming(str(run))) == 2
        held.send_signal(number)
        out, err = held.communicate(timeout=PATIENCE_SECONDS)
    wait_until(lambda: not processes_naming(str(tmp_path)), "the jobs to end")
    if number is signal.SIGTERM:
        assert (held.returncode, err) == (130, "")
        assert out.splitlines()[-1] == "stopped; the same command continues from here"
    with controller(config_file, "launch.max_parallel=2") as again:
        out, err = again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0, out + err
