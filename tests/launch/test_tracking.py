"""TorchX's tracker in a folder: what the controller and its jobs leave there, and that nothing is left when none is configured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from torchx.tracker.backend.fsspec import FsspecTracker, create

from launch.errors import LaunchError
from launch.jobs import Job
from launch.tracking import Tracking, flat, open_tracking, results

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60


def configure(folder: Path) -> FsspecTracker:
    (folder / "tracked").mkdir()
    (folder / "tracker.conf").write_text(f"protocol=file\nroot_path={folder}/tracked\n")
    (folder / ".torchxconfig").write_text(f"[torchx:tracker]\nfsspec =\n\n[tracker:fsspec]\nconfig = {folder}/tracker.conf\n")
    return create(str(folder / "tracker.conf"))


def run(config_file: Path, **environment: str) -> None:
    command = [sys.executable, str(HERE / "fake_pipeline.py"), "--config", str(config_file), "data.search_days='0'"]
    together = {**os.environ, "FAKE_PLAIN": "1", "OMP_NUM_THREADS": "7", **environment}
    done = subprocess.run(
        command, env=together, cwd=config_file.parent, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_a_run_and_its_jobs_are_recorded(config_file: Path, tmp_path: Path) -> None:
    tracker = configure(tmp_path)
    run(config_file, TORCHX_JOB_ID="local_cwd://torchx/search-1", TORCHX_PARENT_RUN_ID="experiment-7")
    folder = tmp_path / "runs/tiny"

    asked = dict(tracker.metadata("local_cwd://torchx/search-1"))
    assert asked["run"] == str(folder)
    assert str(asked["command"]).startswith(f"torchx run launch/search.py --config {config_file}")
    assert (asked["config.data.search_days"], asked["config.retrain.seeds"]) == ("0", [0, 1])
    assert (asked["found.auc"], asked["found.auc_by_seed"], asked["found.vs_found.auc_diff"]) == (0.75, [0.7, 0.8], 0.0)
    assert [source.source_run_id for source in tracker.sources("local_cwd://torchx/search-1")] == ["experiment-7"]
    named = {name: artifact.path for name, artifact in tracker.artifacts("local_cwd://torchx/search-1").items()}
    assert named == {name: str(folder / name) for name in ("config.toml", "architecture.json", "results.json", "report.html")}

    handle = (folder / "logs/search-day-0/attempt=1/handle").read_text()
    job = tracker.metadata(handle)
    assert (job["job"], job["attempt"], job["OMP_NUM_THREADS"]) == ("search-day-0", 1, "7")
    assert [source.source_run_id for source in tracker.sources(handle)] == ["local_cwd://torchx/search-1"]
    assert list(tracker.artifacts(handle)) == ["days/day=00/alphas.json"]
    assert len(list(tracker.run_ids())) == 4, "the controller, a day, two models"


def test_off_by_default(config_file: Path, tmp_path: Path) -> None:
    run(config_file)
    assert not (tmp_path / "tracked").exists()


def test_a_tracker_that_cannot_be_used_ends_the_run_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path)
    (tmp_path / "tracked").rmdir()
    monkeypatch.setenv("TORCHXCONFIG", str(tmp_path / ".torchxconfig"))
    with pytest.raises(LaunchError, match=r"tracker fsspec of .torchxconfig, with config = .*tracker.conf, cannot be used: Expects FSSpec"):
        open_tracking(tmp_path)
    (tmp_path / "tracker.conf").unlink()
    with pytest.raises(LaunchError, match=r"cannot be used: .*No such file"):
        open_tracking(tmp_path)
    (tmp_path / ".torchxconfig").write_text("[torchx:tracker]\nfspec =\n")
    with pytest.raises(LaunchError, match=r"tracker fspec of .torchxconfig: no installed package brings one"):
        open_tracking(tmp_path)


def test_a_tracker_that_fails_later_is_told_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Full:
        def add_metadata(self, run_id: str, **_: object) -> None:
            raise OSError("no space left")

        add_artifact = add_source = add_metadata

        def __repr__(self) -> str:
            return "in the attic"

    tracking = Tracking([Full()], tmp_path)
    assert tracking.run_id == f"run://{tmp_path}"
    tracking.compared([])
    tracking.compared([])
    assert capsys.readouterr().err.startswith("warning: tracker in the attic failed, and misses a part: ")
    assert capsys.readouterr().err == ""


def test_plain_values(tmp_path: Path) -> None:
    assert dict(flat({"a": {"b": 1, "c": [1, 2]}, "d": [{"e": 1}], "f": None})) == {"a.b": 1, "a.c": [1, 2], "f": None}
    job = Job("retrain-mlp", "m", (), (tmp_path / "seed=0", tmp_path / "seed=1"), "result.json")
    for number, folder in enumerate(job.folders):
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps({"auc": 0.5 + number, "bins": [1]}))
    assert results(job) == {"seed=0.auc": 0.5, "seed=1.auc": 1.5}
    assert results(SimpleNamespace(folders=job.folders[:1], result=job.result)) == {"auc": 0.5}  # type: ignore[arg-type]
