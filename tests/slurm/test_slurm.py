"""A whole search on a real Slurm: days as its jobs, one of them cancelled in mid-run, and the result of a run without Slurm.

Run by `make test-slurm`; needs the packages that `cluster.py` names, and root.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from data_prep.cli import main as data_prep
from launch.jobs import Job, ddp_app
from launch.slurm import RunFolderSlurm
from recsys_nas.config import LaunchConfig, load_config

PATIENCE_SECONDS = 300.0
DEMO_PATIENCE_SECONDS = 1800.0
DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo.toml"
TORCHX = Path(sys.executable).with_name("torchx")


def _load_cluster() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slurm_cluster", Path(__file__).with_name("cluster.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cluster = _load_cluster()
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(cluster.missing_programs()), reason=f"missing here: {', '.join(cluster.missing_programs())}"),
]

CONFIG = """
[data]
shards = "shards"
search_days = "0-1"
train_days = "0-1"
test_day = 2
[embedding]
dim = 8
[search]
batch_size = 64
checkpoint_every_steps = 50
[retrain]
models = ["mlp"]
seeds = [0]
[launch]
memory_mb = 1000
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with cluster.running_cluster(tmp_path_factory.mktemp("cluster"), cpus=4) as environment:
        yield {**os.environ, **environment}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert data_prep(["synth", "--out", f"{folder}/raw", "--days", "3", "--rows-per-day", "20000", "--seed", "0"]) == 0
    assert data_prep(["run", "--input", f"{folder}/raw/day_*", "--schema", "criteo", "--out", f"{folder}/shards"]) == 0
    (folder / "small.toml").write_text(CONFIG)
    return folder


def search(folder: Path, environment: Mapping[str, str], *words: str, config: str = "small.toml") -> subprocess.Popen[str]:
    ends_with_us = [sys.executable, "-m", "launch.child", "--ask"]
    command = [*ends_with_us, str(TORCHX), "run", "-s", "local_cwd", "launch/search.py", "--config", config, *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], patience: float = PATIENCE_SECONDS) -> str:
    out, _ = process.communicate(timeout=patience)
    assert process.returncode == 0, out
    return out


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def cancel(attempt: Path, environment: Mapping[str, str]) -> None:
    job = (attempt / "handle").read_text().rpartition("/")[2]
    subprocess.run(["scancel", job], env=environment, check=True)


def now() -> str:
    """As `sacct --starttime` takes it, one second past: jobs that have ended in this second are not of what comes."""
    time.sleep(1.1)
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def states_of_jobs(environment: Mapping[str, str], began: str) -> Counter[str]:
    """How many jobs submitted since then have each name and state."""
    command = ["sacct", "-X", "-n", "-P", "--format=Submit,JobName,State", f"--starttime={began}"]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    return Counter(line.partition("|")[2] for line in lines if line.partition("|")[0] >= began)


def assert_nothing_runs(environment: Mapping[str, str]) -> None:
    left = subprocess.run(["squeue", "--noheader"], env=environment, capture_output=True, text=True, check=True)
    assert left.stdout == ""


def comparable(run: Path) -> dict[str, object]:
    """The gates that each day ended with, their aggregate and the architecture; to the last digit, for the work is the same."""
    days = {path.parent.name: json.loads(path.read_text())["gates"] for path in sorted(run.glob("days/*/alphas.json"))}
    files = {name: json.loads((run / name).read_text()) for name in ("alphas.json", "architecture.json")}
    del files["alphas.json"]["made_of"]  # digests of the days' files, which tell seconds too
    return {**days, **files}


def test_search_on_slurm_with_a_cancelled_day(slurm: Mapping[str, str], folder: Path) -> None:
    before, began = {path.name for path in folder.iterdir()}, now()
    run = folder / "runs/slurm"
    process = search(folder, slurm, "--scheduler", "slurm", "--cfg", "partition=cpu", "name=slurm")
    logs, figures = run / "logs/search-day-0", run / "days/day=00/metrics.jsonl"
    wait_until(lambda: figures.exists() and figures.stat().st_size > 0, process)
    cancel(logs / "attempt=1", slurm)
    out = finish(process)
    assert "[search day 0] failed after" in out
    assert "slurm says CANCELLED by 0; log runs/slurm/logs/search-day-0/attempt=1; trying again" in out
    assert "[search day 0] started again (attempt 2)" in out
    assert sorted(path.name for path in logs.iterdir()) == ["attempt=1", "attempt=2"]
    assert (run / "report.html").exists()

    assert states_of_jobs(slurm, began) == {
        "retrain-0|COMPLETED": 2,
        "search_day-0|CANCELLED by 0": 1,
        "search_day-0|COMPLETED": 2,
    }
    assert_nothing_runs(slurm)
    assert {path.name for path in (logs / "attempt=2").iterdir()} == {"handle", "ranks", "sbatch.log", "search_day-0"}
    assert {path.name for path in folder.iterdir()} == before | {"runs"}, "nothing is left in the working directory"

    finish(search(folder, os.environ, "name=local", "launch.scheduler=local_cwd"))
    assert comparable(run) == comparable(folder / "runs/local")


def test_a_days_mistake_is_told_in_one_line_and_not_tried_again(slurm: Mapping[str, str], folder: Path) -> None:
    """The cause is read from the logs that Slurm wrote, and a user's mistake ends the day at the first attempt."""
    part = next((folder / "shards/day=01").glob("part-*/*"))
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    try:
        words = (
            "name=broken",
            "launch.scheduler=slurm",
            "launch.scheduler_options.partition=cpu",
            'data.search_days="1"',
            "retrain.models=[]",
        )
        out, _ = search(folder, slurm, *words).communicate(timeout=PATIENCE_SECONDS)
    finally:
        part.write_bytes(whole)
    failed = [line for line in out.splitlines() if "[search day 1] failed after" in line]
    assert len(failed) == 1, out
    assert part.name in failed[0], failed
    assert "trying again" not in failed[0]


def test_a_job_has_the_gpus_and_cores_of_its_node(slurm: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    launch = LaunchConfig(scheduler="slurm", nproc_per_node=2, gpus=2, cpus=2, memory_mb=100)
    app = ddp_app(Job("gpus", "module", (), (tmp_path,), "result.json"), launch, tmp_path, {})
    asked = RunFolderSlurm("torchx").submit_dryrun(app, {"partition": "cpu", "log_dir": str(tmp_path / "logs")})
    (replica,) = asked.request.replicas.values()
    told = 'echo "$SLURM_CPUS_PER_TASK $CUDA_VISIBLE_DEVICES"; scontrol show job $SLURM_JOB_ID | grep -o "Requeue=."'
    replica.entrypoint, replica.args = "bash", ["-c", told]
    RunFolderSlurm("torchx").schedule(asked)
    (said,) = (tmp_path / "logs").glob("*/")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (words := (log.read_text() if (log := said / "stdout.log").exists() else "").split())[2:]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert words == ["4", "0,1", "Requeue=0"]


@pytest.mark.slow
def test_the_demo_on_slurm_with_a_cancelled_day(slurm: Mapping[str, str], tmp_path: Path) -> None:
    """The demo as `make demo` runs it, models and seeds included, each day and each model a job of Slurm."""
    data, run, began = tmp_path / "data/demo", tmp_path / "runs/demo", now()
    assert data_prep(["synth", "--out", f"{data}/raw", "--days", "6", "--rows-per-day", "200000", "--seed", "0"]) == 0
    assert data_prep(["run", "--input", f"{data}/raw/day_*", "--schema", "criteo", "--out", f"{data}/shards"]) == 0
    words = ("--scheduler", "slurm", "--cfg", "partition=cpu", "--max_parallel", "2", "launch.memory_mb=1500")
    process = search(tmp_path, slurm, *words, config=str(DEMO))
    logs, figures = run / "logs/search-day-1", run / "days/day=01/metrics.jsonl"
    wait_until(lambda: figures.exists() and len(figures.read_text().splitlines()) > 2, process)
    cancel(logs / "attempt=1", slurm)
    out = finish(process, DEMO_PATIENCE_SECONDS)
    assert "[search day 1] started again (attempt 2)" in out
    assert sorted(path.parent.name for path in run.glob("days/*/alphas.json")) == [f"day={day:02d}" for day in range(5)]
    assert (run / "report.html").exists()

    results = json.loads((run / "results.json").read_text())
    models = load_config(DEMO).retrain.models
    assert {"found", *models} <= {model["name"] for model in results["models"]}
    states = states_of_jobs(slurm, began)
    assert states["search_day-0|COMPLETED"] == 5
    assert states["search_day-0|CANCELLED by 0"] == 1
    assert sum(states.values()) == 6 + states["retrain-0|COMPLETED"]
    assert_nothing_runs(slurm)
