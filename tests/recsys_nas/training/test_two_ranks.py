"""Two ranks, started once: checkpoints from one rank and back to one, a killed job, the pipeline, and a rank that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from embeddings.config import EmbeddingConfig
from recsys_nas.jobs.environment import Ranks
from recsys_nas.training.checkpoint import Checkpointer, Retention, read_state
from tests.fabricated_shards import write_shards
from tests.rank_processes import run_on_ranks
from tests.recsys_nas.training.small_job import Killed, Watched, make_job, saved_tensors, train

LAST = "step=00000020"
ROWWISE: dict[str, Any] = {"dim": 8, "optimizer": "rowwise_adagrad"}
ADAGRAD: dict[str, Any] = {"dim": 8, "optimizer": "adagrad", "min_partition": 4}
# By name: what one rank trained, how two take it over, and how one takes it back.
RESHARDED = {"rowwise": (ROWWISE, "row_wise", "table_wise"), "adagrad": (ADAGRAD, "column_wise", "row_wise")}


def on_two(shards: Path, folder: Path) -> list[dict[str, Any]]:
    def action(name: str, sharding: str, wish: dict[str, Any] = ROWWISE, kind: str = "train", **more: Any) -> dict[str, Any]:
        places = {"action": kind, "shards": str(shards), "folder": str(folder / name)}
        return places | {"embedding": wish | {"sharding": [sharding]}} | more

    saved = [action(n, two, wish, "save_again", into=str(folder / f"{n} on two")) for n, (wish, two, _) in RESHARDED.items()]
    killed = action("killed", "row_wise", overlap=True, supernet=True)
    return [
        *saved,
        action("killed on one", "row_wise"),
        action("plain", "row_wise", supernet=True),
        action("overlapped", "row_wise", overlap=True, supernet=True),
        killed | {"kill_at": 12},
        killed,
        action("failed", "row_wise", fail_rank=1, fail_at=3),  # the last: it ends both
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> Path:
    """Where one rank trained, and then two, whose last job failed on rank 1."""
    folder = tmp_path_factory.mktemp("two-ranks")
    shards = folder / "shards"
    write_shards(shards, days=1, rows_per_part=(1536, 404), lists=True)
    for name, (wish, _, _) in RESHARDED.items():
        train(make_job(shards, folder / name, EmbeddingConfig(**wish)), folder / name)
    with pytest.raises(Killed):
        train(make_job(shards, folder / "killed on one", EmbeddingConfig(**ROWWISE), Watched(kill_at=12)), folder / "killed on one")
    (folder / "actions.json").write_text(json.dumps(on_two(shards, folder)))
    with pytest.raises(AssertionError) as failed:
        run_on_ranks("tests.recsys_nas.training.small_job", 2, str(folder / "actions.json"))
    (folder / "stderr").write_text(str(failed.value))
    return folder


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], rtol=0, atol=tolerance), name


@pytest.mark.parametrize("name", RESHARDED)
def test_checkpoints_go_from_one_rank_to_two_and_back_exactly(folder: Path, name: str) -> None:
    wish, two, one = RESHARDED[name]
    expected = saved_tensors(folder / name / LAST)
    assert {"tables.t_seen.momentum1", "model.tables.embedding_bags.t_seen.weight", "weights.network.out.weight.exp_avg"} < set(expected)
    plan = read_state(folder / f"{name} on two" / LAST)["values"]["plan"]
    assert (plan["world_size"], {table["sharding"] for table in plan["tables"]}) == (2, {two})
    assert_equal(saved_tensors(folder / f"{name} on two" / LAST), expected)
    back = make_job(folder / "shards", folder / f"{name} on two", EmbeddingConfig(**wish | {"sharding": (one,)}))
    assert back.progress.step == 20
    Checkpointer(folder / f"{name} back", Retention(0)).save(back.state, 20)
    assert read_state(folder / f"{name} back" / LAST)["values"]["plan"]["tables"][0]["sharding"] == one
    assert_equal(saved_tensors(folder / f"{name} back" / LAST), expected)


def test_a_job_killed_on_one_rank_ends_on_two_as_undisturbed(folder: Path) -> None:
    # on other ranks sums of gradients are rounded in another order
    assert_equal(saved_tensors(folder / "killed on one" / LAST), saved_tensors(folder / "rowwise" / LAST), 1e-4)


@pytest.mark.parametrize("name", ["overlapped", "killed"])
def test_the_pipeline_equals_the_plain_loop(folder: Path, name: str) -> None:
    """The supernet's active modules change from step to step; the killed job goes on, although batches had been drawn ahead."""
    assert_equal(saved_tensors(folder / name / LAST), saved_tensors(folder / "plain" / LAST), 1e-6)
    losses = [read_state(folder / it / LAST)["values"]["progress"]["loss_sum"] for it in (name, "plain")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_failed_rank_ends_the_other(folder: Path) -> None:
    told = (folder / "stderr").read_text()
    assert "RuntimeError: rank 1 broke in step 3" in told
    assert "rank 0:" in told
