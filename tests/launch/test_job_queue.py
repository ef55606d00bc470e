"""The queue over TorchX's real local scheduler, with jobs as plain processes (torchrun itself: test_controller)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from torchx.runner import get_runner

import launch.jobs
from launch.causes import Failure
from launch.devices import Slots
from launch.errors import LaunchError
from launch.jobs import Job, retrain_jobs, search_jobs
from launch.queue import AppBuilder, Attempt, JobQueue, scheduler_options
from launch.stop import Stop, Stopped
from recsys_nas.config import Config, LaunchConfig, load_config, to_toml


class Record:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.most_at_once = 0
        self.retried: list[str] = []

    def started(self, attempt: Attempt) -> None: ...
    def finished(self, attempt: Attempt) -> None: ...
    def failed(self, attempt: Attempt, why: Failure, again_in: float | None) -> None:
        if again_in is not None:
            self.retried.append(attempt.job.name)

    def update(self, running: Sequence[Attempt], waiting: Sequence[Job]) -> None:
        self.most_at_once = max(self.most_at_once, len(running))


@pytest.fixture
def config(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(launch.jobs, "SEARCH_MODULE", "fake_job")
    monkeypatch.setattr(launch.jobs, "RETRAIN_MODULE", "fake_job")
    config = load_config(config_file, ['retrain.models=["mlp", "dlrm", "dcnv2"]'])
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "config.toml").write_text(to_toml(config))
    return config


Run = Callable[..., tuple[dict[str, Failure], Record]]


@pytest.fixture
def run(config: Config, plain_app: AppBuilder) -> Run:
    """Runs jobs through a queue to its end."""

    def run(jobs: Sequence[Job], slots: Slots, timeout_minutes: float = 1.0) -> tuple[dict[str, Failure], Record]:
        record = Record()
        settings = replace(config.launch, timeout_minutes=timeout_minutes, gpus=len(slots.gpus or ()) // slots.jobs)
        with get_runner() as runner:
            queue = JobQueue(runner, settings, slots, config.run_folder / "logs", record, Stop(), plain_app, backoff_seconds=0.1)
            return queue.run(jobs), record

    return run


def test_failures_retries_and_success_in_one_queue(config: Config, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = {"0": "once", "1": "traceback", "2": "user_error", "mlp": "silent", "dlrm": "killed"}
    monkeypatch.setenv("FAKE_JOB", json.dumps(modes))
    failures, record = run((*search_jobs(config), *retrain_jobs(config)), Slots(2, ("4", "7")))
    assert record.most_at_once == 2
    missing = config.run_folder / "retrain/mlp/seed=0/result.json"
    assert failures == {
        "search-day-1": Failure("RuntimeError: no luck with 1"),
        "search-day-2": Failure("2 is not what you want", user_error=True),
        "retrain-mlp": Failure(f"ended without writing {missing}"),
        "retrain-dlrm": Failure("ended as FAILED without a message, as when it is killed"),
    }
    assert sorted(record.retried) == ["retrain-dlrm", "retrain-mlp", "search-day-0", "search-day-1"]
    attempts = {path.name: len(list(path.iterdir())) for path in (config.run_folder / "logs").iterdir()}
    assert attempts == {
        "search-day-0": 2,
        "search-day-1": 2,
        "search-day-2": 1,
        "retrain-mlp": 2,
        "retrain-dlrm": 2,
        "retrain-dcnv2": 1,
    }, "the found model needs an architecture that is not there, so it was never started"
    assert "no luck" in (config.run_folder / "logs/search-day-0/attempt=1/combined.log").read_text()
    result = json.loads((config.run_folder / "days/day=00/alphas.json").read_text())
    assert result["CUDA_VISIBLE_DEVICES"] in ("4", "7")


def test_time_limit_and_finished_work(config: Config, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_JOB", '{"1": "hang"}')
    done, hangs, _ = search_jobs(config)
    done.folders[0].mkdir(parents=True)
    (done.folders[0] / "alphas.json").touch()
    failures, _ = run((done, hangs), Slots(2), timeout_minutes=0.01)
    assert failures == {"search-day-1": Failure("ran past launch.timeout_minutes = 0.01")}
    assert not (config.run_folder / "logs/search-day-0").exists()


def test_stop_cancels_what_runs(config: Config, plain_app: AppBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_JOB", '{"0": "hang", "1": "hang"}')
    stop, record = Stop(), Record()
    with get_runner() as runner:
        queue = JobQueue(runner, config.launch, Slots(2), config.run_folder / "logs", record, stop, plain_app)
        monkeypatch.setattr(record, "update", lambda running, waiting: setattr(stop, "requested", len(running) == 2))
        began = time.monotonic()
        with pytest.raises(Stopped):
            queue.run(search_jobs(config))
        assert time.monotonic() - began < 60, "not the ten minutes that the jobs would hang"


def test_unusable_scheduler_options() -> None:
    with get_runner() as runner:
        with pytest.raises(LaunchError, match="slurm has no option 'partitoin'; it knows partition"):
            scheduler_options(runner, LaunchConfig(scheduler="slurm", scheduler_options={"partitoin": "gpu"}))
        assert scheduler_options(runner, LaunchConfig(scheduler_options={"prepend_cwd": "true"})) == {"prepend_cwd": True}


def test_a_scheduler_that_refuses_is_a_failed_attempt(config: Config, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchx.runner.Runner.schedule", lambda *_: 1 / 0)
    failures, record = run(search_jobs(config)[:1], Slots(1))
    assert failures == {"search-day-0": Failure("local_cwd did not take it: division by zero")}
    assert record.retried == ["search-day-0"]
