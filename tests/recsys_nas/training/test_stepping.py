"""TorchRec's pipeline trains as the plain loop does, and a rank that fails ends the job with its own error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from embeddings.config import EmbeddingConfig
from embeddings.errors import TableError
from recsys_nas.jobs.environment import Ranks
from recsys_nas.training.checkpoint import read_state
from tests.fabricated_shards import write_shards
from tests.rank_processes import ROOT
from tests.recsys_nas.training.small_job import make_job, saved_tensors, train


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    write_shards(root, days=1, rows_per_part=(1536, 404))
    return root


def actions(folder: Path, shards: Path, *wishes: dict[str, Any]) -> str:
    places = {"action": "train", "shards": str(shards), "embedding": {"dim": 8, "sharding": ["row_wise"]}}
    (folder / "actions.json").write_text(json.dumps([places | wish | {"folder": str(folder / wish["folder"])} for wish in wishes]))
    return str(folder / "actions.json")


def assert_same_ends(folder: Path, names: tuple[str, ...]) -> None:
    ends = [folder / name / "step=00000020" for name in names]
    first, loss = saved_tensors(ends[0]), read_state(ends[0])["values"]["progress"]["loss_sum"]
    for end in ends[1:]:
        tensors = saved_tensors(end)
        assert set(tensors) == set(first)
        assert all(torch.allclose(tensors[name], first[name], rtol=0, atol=1e-6) for name in first), end
        assert read_state(end)["values"]["progress"]["loss_sum"] == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("supernet", [False, True])
def test_the_pipeline_equals_the_plain_loop(shards: Path, tmp_path: Path, ranks: Ranks, supernet: bool) -> None:
    for name, overlap in (("plain", False), ("overlapped", True)):
        train(make_job(shards, tmp_path / name, EmbeddingConfig(dim=8), overlap=overlap, supernet=supernet), tmp_path / name)
    assert_same_ends(tmp_path, ("plain", "overlapped"))
    paths = [path.name for path in (tmp_path / "overlapped").iterdir()]
    assert sorted(paths) == ["step=00000015", "step=00000020"]


def under_torchrun(path: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    program = ["-m", "tests.recsys_nas.training.small_job", path, str(timeout_s)]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def root_cause(stderr: str) -> str:
    """What torchrun says of the rank that failed first."""
    return stderr.rpartition("Root Cause")[2]


@pytest.mark.slow
def test_a_failed_rank_ends_the_others_and_its_error_is_on_top(shards: Path, tmp_path: Path) -> None:
    done = under_torchrun(actions(tmp_path, shards, {"folder": "failed", "fail_rank": 1, "fail_at": 3}), timeout_s=600)
    assert done.returncode == 1
    assert "RuntimeError: rank 1 broke in step 3" in done.stderr
    assert "rank      : 1" in root_cause(done.stderr)
    assert "Connection closed" not in done.stderr, "rank 0 should be ended before it complains of rank 1"


@pytest.mark.slow
def test_a_rank_that_hangs_is_left_alone_after_the_timeout(shards: Path, tmp_path: Path) -> None:
    wish = {"folder": "hung", "fail_rank": 1, "fail_at": 3, "hang_s": 3600.0}
    done = under_torchrun(actions(tmp_path, shards, wish), timeout_s=5)
    assert done.returncode == 1
    assert "rank      : 0" in root_cause(done.stderr)


def test_an_id_outside_its_table_ends_the_job_before_the_step(shards: Path, tmp_path: Path, ranks: Ranks) -> None:
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8))
    trainer._table_rows = {"C1": 5, "C2": 7, "C3": 5}
    with pytest.raises(TableError, match="of feature C1 lies outside its table of 5 rows"):
        train(trainer, tmp_path)
    assert trainer.progress.step == 0


def test_a_feature_that_the_batches_lack_is_named_before_the_first_step(shards: Path, tmp_path: Path, ranks: Ranks) -> None:
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8))
    trainer._table_rows = {"C1": 11, "C9": 5}
    with pytest.raises(TableError, match="the batches hold no feature C9"):
        train(trainer, tmp_path)
    assert trainer.progress.step == 0
