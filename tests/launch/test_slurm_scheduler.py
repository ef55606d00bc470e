"""Our side of Slurm against stand-ins for its commands; a real cluster runs in tests/slurm."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException  # type: ignore[import-untyped]
from torchx.schedulers.api import DescribeAppResponse
from torchx.specs import AppState

import launch.jobs
from launch import queue
from launch.causes import Failure
from launch.devices import Slots
from launch.jobs import ddp_app, search_jobs
from launch.progress import Lines, Tally
from launch.queue import JobQueue
from launch.slurm import RunFolderSlurm, open_runner
from launch.stop import Stop
from recsys_nas.config import Config, load_config

Command = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Puts a shell script on the PATH under the name of one of Slurm's commands."""
    folder = tmp_path / "slurm-bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def command(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    command("sinfo", "exit 1")
    return command


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PENDING", AppState.PENDING),
        ("COMPLETED", AppState.SUCCEEDED),
        ("CANCELLED by 1000", AppState.CANCELLED),
        ("OUT_OF_MEMORY", AppState.FAILED),
        ("RUNNING\nPENDING", AppState.RUNNING),
        ("COMPLETED\nRUNNING", AppState.RUNNING),
        ("RUNNING\nFAILED", AppState.FAILED),
        ("SPECIAL_EXIT", AppState.UNKNOWN),
    ],
)
def test_states(said: str, state: AppState, command: Command) -> None:
    command("sacct", f"printf '{said}\\n'")
    described = RunFolderSlurm("torchx").describe("7")
    assert described is not None
    assert described.state == state
    assert described.msg in said.splitlines()


def test_a_job_that_the_accounting_has_not_heard_of(command: Command) -> None:
    command("sacct", "")
    assert RunFolderSlurm("torchx").describe("7") is None


@pytest.fixture
def config(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(launch.jobs, "SEARCH_MODULE", "fake_job")
    monkeypatch.setattr(queue, "CLUSTER_POLL_SECONDS", 0.0)
    config = load_config(config_file, ['launch.scheduler="slurm"', 'launch.scheduler_options={partition = "cpu"}'])
    config.run_folder.mkdir(parents=True)
    return config


class Quiet(Lines):
    """Keeps what would be shown."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tally = Tally(3, 3)
        self._shown, self._running, self._waiting = {}, [], []
        self._begun = self._last = time.monotonic()

    def say(self, text: str) -> None:
        self.said.append(text)


def run(config: Config, **launch: object) -> tuple[dict[str, Failure], Quiet]:
    shown = Quiet()
    settings = replace(config.launch, retries=0, **launch)  # type: ignore[arg-type]
    with open_runner() as runner:
        made = JobQueue(runner, settings, Slots(3), config.run_folder / "logs", shown, Stop(), ddp_app, backoff_seconds=0.1)
        return made.run(search_jobs(config)[:1]), shown


def test_logs_and_script_of_a_job(config: Config, command: Command, tmp_path: Path) -> None:
    """The script that sbatch gets: resources, environment, and logs in the attempt's folder, where causes are looked for."""
    command("sbatch", f'echo "$@" > {tmp_path}/arguments; cp "${{@: -1}}" {tmp_path}/script; echo 41')
    logs = config.run_folder.resolve() / "logs/search-day-0/attempt=1"
    command("sacct", f"echo RuntimeError: burnt > {logs}/fake_job-0/stderr.log; echo FAILED")
    failures, _ = run(config, cpus=3, nproc_per_node=2, memory_mb=5000, environment={"NCCL_SOCKET_IFNAME": "ib0,ib1"})
    assert failures == {"search-day-0": Failure("RuntimeError: burnt")}
    assert (logs / "handle").read_text() == "slurm://torchx/41"
    assert f"--parsable --output={logs}/sbatch.log" in (tmp_path / "arguments").read_text()
    script = (tmp_path / "script").read_text()
    assert "#SBATCH --job-name=fake_job-0 --partition=cpu --ntasks-per-node=1 --cpus-per-task=6 --mem=5000 --no-requeue\n" in script
    assert f"srun --output={logs}/fake_job-0/stdout.log --error={logs}/fake_job-0/stderr.log " in script
    assert f"--kill-on-bad-exit=1 --cpus-per-task=6 env OMP_NUM_THREADS=3 PET_LOG_DIR={logs}/ranks " in script
    assert "NCCL_SOCKET_IFNAME=ib0,ib1" in script
    assert "--export" not in script, "which would not override what the controller's own environment has"


def test_gpus_are_asked_for_by_node(config: Config, command: Command, tmp_path: Path) -> None:
    """Slurm 23.11 refuses `--gpus-per-task` without the number of tasks."""
    command("sbatch", f'cp "${{@: -1}}" {tmp_path}/script; echo 41')
    command("sacct", "echo FAILED")
    run(config, gpus=2, nproc_per_node=2)
    script = (tmp_path / "script").read_text()
    assert "--gpus-per-node=2" in script
    assert "gpus-per-task" not in script


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("CANCELLED by 0", "slurm says CANCELLED by 0"),
        ("OUT_OF_MEMORY", "slurm says OUT_OF_MEMORY"),
        ("FAILED", "ended as FAILED without a message, as when it is killed"),
        ("COMPLETED", "ended without writing {result}"),
    ],
)
def test_cause(said: str, cause: str, config: Config, command: Command) -> None:
    command("sbatch", "echo 41")
    command("sacct", f"echo '{said}'")
    result = search_jobs(config)[0].folders[0] / "alphas.json"
    assert run(config)[0] == {"search-day-0": Failure(cause.format(result=result))}


def test_slurms_own_errors_are_no_mistakes_of_the_user(config: Config, command: Command) -> None:
    command("sbatch", "echo 41")
    logs = config.run_folder.resolve() / "logs/search-day-0/attempt=1"
    command("sacct", f"echo 'slurmstepd: error: *** STEP 41.0 ON node CANCELLED ***' > {logs}/fake_job-0/stderr.log; echo FAILED")
    assert run(config)[0] == {"search-day-0": Failure("slurmstepd: error: *** STEP 41.0 ON node CANCELLED ***", user_error=False)}


def test_accounting_that_is_down_for_a_while(config: Config, command: Command, tmp_path: Path) -> None:
    command("sbatch", "echo 41")
    result = search_jobs(config)[0].folders[0]
    result.mkdir(parents=True)
    calls = tmp_path / "calls"
    command("sacct", f"echo >> {calls}; (( $(wc -l < {calls}) < 3 )) && exit 1; touch {result}/alphas.json; echo COMPLETED")
    assert run(config)[0] == {}


def test_a_job_lost_by_the_cluster(config: Config, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cancelled before it is given up, lest it run on beside its next attempt."""
    monkeypatch.setattr(queue, "LOST_AFTER_SECONDS", 0.5)
    command("sbatch", "echo 41")
    command("sacct", "")
    command("scancel", f"echo $@ >> {tmp_path}/cancelled")
    assert run(config)[0] == {"search-day-0": Failure("ended as UNKNOWN without a message, as when it is killed")}
    assert (tmp_path / "cancelled").read_text() == "--quiet 41\n"


def test_a_job_whose_accounting_stays_down_has_its_time(
    config: Config, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "LOST_AFTER_SECONDS", 0.5)
    command("sbatch", "echo 41")
    command("scancel", f"echo $@ >> {tmp_path}/cancelled")
    result, calls = search_jobs(config)[0].folders[0], tmp_path / "calls"
    result.mkdir(parents=True)
    command("sacct", f"echo >> {calls}; (( $(wc -l < {calls}) < 8 )) && exit 1; touch {result}/alphas.json; echo COMPLETED")
    assert run(config)[0] == {}
    assert not (tmp_path / "cancelled").exists()


def begun_before(config: Config, handle: str) -> Path:
    """The logs that a controller left of day 0's first attempt."""
    logs = config.run_folder / "logs/search-day-0/attempt=1"
    logs.mkdir(parents=True)
    (logs / "handle").write_text(handle)
    return logs


def test_a_job_of_another_scheduler_is_not_waited_for(config: Config, command: Command, tmp_path: Path) -> None:
    begun_before(config, "kubernetes://torchx/default:search-day-0")
    result = search_jobs(config)[0].folders[0]
    result.mkdir(parents=True)
    command("sbatch", f"touch {result}/alphas.json; echo 41")
    command("sacct", "echo COMPLETED")
    assert run(config)[0] == {}


@pytest.mark.parametrize(("said", "age", "again"), [("exit 1", 9e9, False), ("", 0.0, False), ("", 9e9, True)])
def test_a_job_that_the_accounting_does_not_tell_of_is_not_started_twice(
    config: Config, command: Command, tmp_path: Path, said: str, age: float, again: bool
) -> None:
    """Down, or not knowing a job just handed in, it says nothing of whether that runs; one handed in long ago and unknown is gone."""
    logs = begun_before(config, "slurm://torchx/40")
    os.utime(logs / "handle", (time.time() - min(age, 1e6),) * 2)
    result = search_jobs(config)[0].folders[0]
    result.mkdir(parents=True)
    polls = tmp_path / "polls"
    command("sbatch", f"echo again >> {tmp_path}/submitted; echo 41")
    command(
        "sacct",
        f"echo >> {polls}; if (( $(wc -l < {polls}) < 3 )); then {said or ':'}; exit; fi; touch {result}/alphas.json; echo COMPLETED",
    )
    assert run(config)[0] == {}
    assert (tmp_path / "submitted").exists() == again


class Deleted:
    """A scheduler that answers as Kubernetes' client does for a job that was deleted: 404, and other errors where it is not reached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, app_id: str) -> None:
        self.app_id, self.asked = app_id, 0
        monkeypatch.setattr(RunFolderSlurm, "describe", lambda _, app_id: self.describe(app_id))
        monkeypatch.setattr(RunFolderSlurm, "_cancel_existing", lambda _, app_id: self.describe(app_id))

    def describe(self, app_id: str) -> DescribeAppResponse:
        if app_id != self.app_id:
            return DescribeAppResponse(app_id=app_id, state=AppState.SUCCEEDED)
        self.asked += 1
        if self.asked > 100:
            pytest.fail("it is waited for")  # which no `except Exception` takes
        raise ApiException(status=404)


def test_a_job_that_was_deleted_is_started_again(config: Config, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = begun_before(config, "slurm://torchx/40")
    os.utime(logs / "handle", (1, 1))
    result = search_jobs(config)[0].folders[0]
    result.mkdir(parents=True)
    command("sbatch", f"touch {result}/alphas.json; echo 41")
    Deleted(monkeypatch, "40")
    assert run(config)[0] == {}


def test_a_job_that_is_deleted_while_it_runs_fails_without_a_word_of_cancelling(
    config: Config, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(queue, "LOST_AFTER_SECONDS", 0.0)
    command("sbatch", "echo 41")
    Deleted(monkeypatch, "41")
    assert run(config)[0] == {"search-day-0": Failure("ended as UNKNOWN without a message, as when it is killed")}
    assert capsys.readouterr().err == ""


def test_jobs_are_cancelled_though_the_accounting_is_down(config: Config, command: Command, tmp_path: Path) -> None:
    command("scancel", f"echo $@ >> {tmp_path}/cancelled")
    command("sacct", "exit 1")
    with open_runner() as runner:
        runner.cancel("slurm://torchx/40")
    assert (tmp_path / "cancelled").read_text() == "--quiet 40\n"


def test_waiting_in_the_clusters_queue_does_not_count_as_running(config: Config, command: Command, tmp_path: Path) -> None:
    """Time limit of 0.6 s: two seconds of waiting pass, one of running does not."""
    command("sbatch", "echo 41")
    command("scancel", f"echo $@ > {tmp_path}/cancelled")
    command("sacct", f"(( $(date +%s) < {int(time.time()) + 3} )) && echo PENDING || echo RUNNING")
    began = time.time()
    assert run(config, timeout_minutes=0.01)[0] == {"search-day-0": Failure("ran past launch.timeout_minutes = 0.01")}
    assert time.time() - began > 2
    assert (tmp_path / "cancelled").read_text() == "--quiet 41\n"


def test_jobs_of_a_killed_controller_are_taken_over(config: Config, command: Command, tmp_path: Path) -> None:
    """A cluster's jobs outlive the controller: what still runs is waited for, what has ended is started again."""
    logs = begun_before(config, "slurm://torchx/40")
    result = search_jobs(config)[0].folders[0]
    result.mkdir(parents=True)
    polls = tmp_path / "polls"
    command("sbatch", f"echo again >> {tmp_path}/submitted; echo 41")
    command(
        "sacct", f"echo $@ >> {polls}; (( $(wc -l < {polls}) < 3 )) && echo RUNNING && exit; touch {result}/alphas.json; echo COMPLETED"
    )
    failures, shown = run(config)
    assert failures == {}
    assert shown.said[0] == f"[search day 0] still runs, taken over; log {logs}"
    assert not (tmp_path / "submitted").exists()
    assert "--jobs=40" in polls.read_text()

    (result / "alphas.json").unlink()
    command("sacct", f"[[ $* == *41 ]] && echo '{json.dumps({})}' > {result}/alphas.json; echo COMPLETED")
    assert run(config)[0] == {}
    assert (tmp_path / "submitted").read_text() == "again\n"
