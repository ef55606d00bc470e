"""A run folder tells what made it, and takes no second run of another config."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_nas import provenance
from recsys_nas.config import Config, ConfigError, DataConfig, LaunchConfig, load_config
from recsys_nas.provenance import versions, write_provenance
from recsys_nas.search_config import SearchConfig
from recsys_nas.training.retraining import RetrainConfig, ZooSizes
from tests.fabricated_shards import write_shards

CONFIG = Config(name="demo", seed=7, data=DataConfig(search_days="0-4"), search=SearchConfig(batch_size=512))


def record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_a_run_can_be_traced_from_its_folder(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "demo"
    write_provenance(run, CONFIG, ["torchx", "run", "launch/search.py"])
    assert load_config(run / "config.toml") == CONFIG
    written = record(run)
    assert written["seed"] == 7
    assert written["command"] == ["torchx", "run", "launch/search.py"]
    assert written["versions"] == versions()
    assert {"torch", "torchrec", "fbgemm", "torchx"} <= written["versions"].keys()
    assert written["created"].endswith("+00:00")
    assert written["continued"] == []
    assert sorted(path.name for path in run.iterdir()) == ["config.toml", "run.json"]


def test_the_same_start_again_leaves_the_record_alone(tmp_path: Path) -> None:
    write_provenance(tmp_path, CONFIG, ["search"])
    first = record(tmp_path)
    write_provenance(tmp_path, CONFIG, ["search"])
    assert record(tmp_path) == first


def test_going_on_with_other_packages_is_recorded_beside_the_first_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_provenance(tmp_path, CONFIG, ["search"])
    first = record(tmp_path)
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "2.11.0"})
    write_provenance(tmp_path, CONFIG, ["search"])
    (later,) = record(tmp_path)["continued"]
    assert later["versions"] == {"torch": "2.11.0"}
    assert {**record(tmp_path), "continued": []} == first


def test_the_data_is_told_by_its_checksum(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    config = dataclasses.replace(CONFIG, data=DataConfig(shards=str(shards), search_days="0-4"))
    write_provenance(tmp_path / "early", config, [])
    assert record(tmp_path / "early")["manifest_sha256"] is None
    write_shards(shards, 1, (20,))
    write_provenance(tmp_path / "run", config, [])
    first = record(tmp_path / "run")
    assert len(first["manifest_sha256"]) == 64
    write_provenance(tmp_path / "run", config, [])
    assert record(tmp_path / "run")["continued"] == []
    shutil.rmtree(shards)
    write_shards(shards, 1, (20, 20))
    write_provenance(tmp_path / "run", config, [])
    (later,) = record(tmp_path / "run")["continued"]
    assert later["manifest_sha256"] != first["manifest_sha256"]


def test_launch_settings_may_change_and_are_updated(tmp_path: Path) -> None:
    write_provenance(tmp_path, CONFIG, [])
    moved = dataclasses.replace(CONFIG, output="elsewhere", launch=LaunchConfig(scheduler="slurm", scheduler_options={"partition": "gpu"}))
    write_provenance(tmp_path, moved, [])
    assert load_config(tmp_path / "config.toml") == moved


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"search": SearchConfig(batch_size=1024)}, ["search.batch_size = 512", "1024"]),
        ({"data": DataConfig(search_days="0-3")}, ['data.search_days = "0-4"', '"0-3"']),
        ({"seed": 8}, ["seed = 7", "8"]),
        ({"retrain": RetrainConfig(sizes={"mlp": ZooSizes(hidden=(64,))})}, ["retrain.sizes = {}", '"hidden": [64]']),
    ],
)
def test_another_config_is_refused_in_one_line_and_changes_nothing(tmp_path: Path, changed: dict, words: list[str]) -> None:
    write_provenance(tmp_path, CONFIG, [])
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError) as caught:
        write_provenance(tmp_path, dataclasses.replace(CONFIG, **changed), [])
    message = str(caught.value)
    assert "\n" not in message
    for word in [*words, str(tmp_path), "name="]:
        assert word in message
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_config_nobody_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("name = 'demo'\nno_such_key = 1\n")
    with pytest.raises(ConfigError, match=r"no_such_key.*cannot be continued"):
        write_provenance(tmp_path, CONFIG, [])


@pytest.mark.parametrize("text", ["{half", "[]", "{}", '{"continued": null}'])
def test_a_damaged_record_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    write_provenance(tmp_path, CONFIG, ["search"])
    assert record(tmp_path)["command"] == ["search"]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_repository_which_tracks_the_code(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    tracked, untracked = tmp_path / "tracked.py", tmp_path / "untracked.py"
    tracked.write_text("1")
    git(tmp_path, "add", "tracked.py")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance._git_state(tracked) == (commit, False)
    untracked.write_text("2")
    assert provenance._git_state(tracked) == (commit, True)
    assert provenance._git_state(untracked) == (None, None)


def test_recording_loads_no_torch() -> None:
    code = "import sys, recsys_nas.provenance as p; p.versions(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
