"""The whole controller as its own process, over fake jobs: a run, its continuation, and its end by signals."""

from __future__ import annotations

import json
import os
import re
import shutil
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
    assert result == {"RANK": "0", "WORLD_SIZE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert not (run / "results.json").exists()

    with controller(config_file, *small) as second:
        out, err = second.communicate(timeout=PATIENCE_SECONDS)
    assert (second.returncode, err) == (0, "")
    assert "1 of 3 jobs left" in out
    assert out.splitlines()[-4:] == [
        "the table",
        f"results  {run}/results.json",
        f"report   {run}/report.html",
        f"curves   tensorboard --logdir {run}   # tab Custom Scalars",
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


def test_a_job_on_two_nodes(config_file: Path, tmp_path: Path) -> None:
    """Two agents of torchrun on this machine meet, two jobs at once, each with four ranks."""
    words = ("--stages", "search", "data.search_days='0-1'", "launch.nnodes=2", "launch.nproc_per_node=2", "launch.max_parallel=2")
    with controller(config_file, *words, plain=False) as held:
        out, err = held.communicate(timeout=2 * PATIENCE_SECONDS)
    assert (held.returncode, err) == (0, ""), out
    events = (tmp_path / "runs/tiny/events.log").read_text().splitlines()
    assert sorted(line for line in events if line.startswith("end")) == [
        f"end {day} as rank {rank} of 4" for day in (0, 1) for rank in range(4)
    ]


def test_a_dry_run_prints_each_request_and_writes_nothing(config_file: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with controller(config_file, "--dryrun", "data.search_days='0,2'", "launch.nproc_per_node=2", "launch.cpus=3") as held:
        out, err = held.communicate(timeout=PATIENCE_SECONDS)
    assert (held.returncode, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("===")] == [
        *("=== search day 0, to local_cwd", "=== search day 2, to local_cwd"),
        *("=== retrain found, to local_cwd", "=== retrain mlp, to local_cwd"),
    ]
    unbroken = re.sub(r"'\n\s*'", "", out)  # as TorchX wraps long strings
    assert f"fake_job {tmp_path}/runs/tiny --day 2" in unbroken
    assert "'OMP_NUM_THREADS': '3'" in out
    assert "--nproc_per_node 2" in unbroken
    assert f"{tmp_path}/runs/tiny/logs/search-day-2/attempt=1" in unbroken
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_not_there_cannot_be_gone_on_with(config_file: Path, tmp_path: Path) -> None:
    for words, said in (
        (("--resume",), f"nothing to resume: there is no run in {tmp_path}/runs/tiny; leave out --resume to begin one"),
        (("--stages", "retrain"), f"{tmp_path}/runs/tiny/architecture.json is missing: `torchx run launch/search.py` with the same"),
        (("--stages", "compare"), f"{tmp_path}/runs/tiny/config.toml is missing: `torchx run launch/search.py` with the same"),
    ):
        with controller(config_file, *words) as held:
            out, err = held.communicate(timeout=PATIENCE_SECONDS)
        assert (held.returncode, out) == (2, "")
        assert err.startswith(f"error: {said}"), err
        assert err.count("\n") == 1


def test_stages_one_by_one(config_file: Path, tmp_path: Path) -> None:
    run, outs = tmp_path / "runs" / "tiny", []
    for words in (("--stages", "search"), ("--stages", "retrain"), ("--stages", "compare", "--resume")):
        with controller(config_file, *words) as held:
            out, err = held.communicate(timeout=PATIENCE_SECONDS)
        assert (held.returncode, err) == (0, "")
        outs.append(out)
        assert (run / "architecture.json").exists()
        assert (run / "results.json").exists() == (words[1] == "compare")
    assert "3 days to search, 0 models to retrain" in outs[0]
    assert "0 days to search, 2 models to retrain" in outs[1]
    assert outs[2].startswith("the table\n")


def test_enough_days_go_on_without_the_others(config_file: Path, tmp_path: Path) -> None:
    """Day 1 fails for good: the rest goes on, its failure is told, and running again neither tries it nor changes anything."""
    run = tmp_path / "runs" / "tiny"
    words = ("launch.min_days=2", "launch.retries=1")
    with controller(config_file, *words, modes={"1": "traceback"}) as held:
        out, err = held.communicate(timeout=PATIENCE_SECONDS)
    assert (held.returncode, err) == (0, "")
    assert out.count("[search day 1] failed after") == 2
    assert f"aggregated 2 days without day 1, which failed: the architecture is in {run}/architecture.json" in out
    assert days_of(run) == ([0, 2], [1])
    assert (run / "results.json").exists()

    with controller(config_file, *words) as again:
        out, err = again.communicate(timeout=PATIENCE_SECONDS)
    assert (again.returncode, err) == (0, "")
    assert "all jobs are done" in out

    with controller(config_file, "launch.min_days=0") as all_days:
        out, err = all_days.communicate(timeout=PATIENCE_SECONDS)
    assert all_days.returncode == 2
    assert "[search day 1] done" in out
    said = "days were searched after retrain found was trained, and may give another architecture: remove"
    assert err == f"error: {said} {run}/retrain/found and run the same command again\n"
    shutil.rmtree(run / "retrain/found")
    with controller(config_file, "launch.min_days=0") as mended:
        out, err = mended.communicate(timeout=PATIENCE_SECONDS)
    assert (mended.returncode, err) == (0, "")
    assert days_of(run) == ([0, 1, 2], [])


def days_of(run: Path) -> tuple[list[int], list[int]]:
    """Those that the architecture is made of, and those that it does without."""
    alphas = json.loads((run / "alphas.json").read_text())
    return alphas["days"], alphas["missing_days"]


def test_a_copied_run_whose_files_have_other_times_is_no_other_run(config_file: Path, tmp_path: Path) -> None:
    """Nor does an architecture that was edited by hand, older than the days, give way to theirs."""
    run = tmp_path / "runs" / "tiny"
    with controller(config_file) as first:
        assert first.communicate(timeout=PATIENCE_SECONDS)[1] == ""
    (run / "architecture.json").write_text('{"edited": true}')
    os.utime(run / "architecture.json", (0, 0))
    with controller(config_file) as again:
        out, err = again.communicate(timeout=PATIENCE_SECONDS)
    assert (again.returncode, err) == (0, "")
    assert "aggregated" not in out
    assert json.loads((run / "architecture.json").read_text()) == {"edited": True}


def test_random_networks_that_cannot_be_had_do_not_hold_up_the_report(config_file: Path, tmp_path: Path) -> None:
    words = ("retrain.random_controls=2", "launch.retries=1")
    with controller(config_file, *words, modes={"random-01": "user_error"}) as held:
        out, err = held.communicate(timeout=PATIENCE_SECONDS)
    assert (held.returncode, err) == (0, "")
    assert out.count("[retrain random 01] failed after") == 1
    assert "done without retrain random 01, which failed" in out
    assert (tmp_path / "runs/tiny/results.json").exists()


def test_too_few_days_are_a_failure(config_file: Path, tmp_path: Path) -> None:
    with controller(config_file, "launch.min_days=2", "launch.retries=0", modes={"1": "traceback", "2": "traceback"}) as held:
        _, err = held.communicate(timeout=PATIENCE_SECONDS)
    assert held.returncode == 1
    assert err.startswith("error: failed: search day 1, search day 2 (retrain found could not start); finished work is kept")
    assert not (tmp_path / "runs/tiny/architecture.json").exists()


def test_a_day_that_hangs_counts_as_failed_after_its_time(config_file: Path, tmp_path: Path) -> None:
    words = ("launch.min_days=2", "launch.retries=0", "launch.timeout_minutes=0.1", "launch.max_parallel=3")
    with controller(config_file, *words, modes={"0": "hang"}) as held:
        out, err = held.communicate(timeout=PATIENCE_SECONDS)
    assert (held.returncode, err) == (0, "")
    assert "ran past launch.timeout_minutes = 0.1" in out
    assert days_of(tmp_path / "runs" / "tiny") == ([1, 2], [0])
