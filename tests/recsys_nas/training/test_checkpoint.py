"""Checkpoints: exact resumption, other plans and world sizes, damage recognised, nothing unpickled, other jobs refused."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from embeddings.config import EmbeddingConfig
from recsys_nas.config import ConfigError
from recsys_nas.jobs.environment import Ranks
from recsys_nas.training import checkpoint
from recsys_nas.training.checkpoint import Checkpointer, Retention, _fill, read_state
from recsys_nas.training.trainer import Trainer
from tests.fabricated_shards import write_shards
from tests.rank_processes import run_on_ranks
from tests.recsys_nas.training.small_job import Killed, Watched, make_job, saved_tensors, train

ROWWISE: dict[str, Any] = {"dim": 8, "optimizer": "rowwise_adagrad"}
ADAGRAD: dict[str, Any] = {"dim": 8, "optimizer": "adagrad", "min_partition": 4}
# 1,940 rows in batches of 96: 20 steps
ROWS = (1536, 404)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    write_shards(root, days=1, rows_per_part=ROWS)
    return root


@pytest.fixture(scope="module")
def undisturbed(shards: Path, ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Last checkpoints of jobs that ran through on one rank, by optimizer."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("rowwise_adagrad", "adagrad")}
    for wish in (ROWWISE, ADAGRAD):
        folder = folders[str(wish["optimizer"])]
        train(make_job(shards, folder, EmbeddingConfig(**wish)), folder)
    return {name: folder / "step=00000020" for name, folder in folders.items()}


def halfway(shards: Path, folder: Path, embedding: EmbeddingConfig | None = None) -> Trainer:
    """A job killed in step 12, with checkpoints of steps 5 and 10."""
    trainer = make_job(shards, folder, embedding or EmbeddingConfig(dim=8), Watched(kill_at=12))
    with pytest.raises(Killed):
        train(trainer, folder)
    assert sorted(path.name for path in folder.glob("step=*")) == ["step=00000005", "step=00000010"]
    return trainer


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], rtol=0, atol=tolerance), name


def test_a_checkpoint_holds_tables_dense_half_optimizers_and_random_states(undisturbed: dict[str, Path]) -> None:
    tensors = saved_tensors(undisturbed["rowwise_adagrad"])
    assert tensors["model.tables.embedding_bags.t_C1.weight"].shape == (11, 8)
    assert tensors["tables.t_C1.momentum1"].shape == (11,)
    assert float(tensors["tables.t_C1.momentum1"].min()) > 0
    assert float(tensors["weights.network.out.weight.step"]) == 20
    state = read_state(undisturbed["rowwise_adagrad"])
    assert state["values"]["reader"]["position"] == 20
    assert state["values"]["plan"]["tables"][0]["name"] == "t_C1"
    assert state["values"]["tables"]["t_C2"] == [7, 8]


def test_an_interrupted_job_ends_as_an_uninterrupted_one_bit_for_bit(
    shards: Path, ranks: Ranks, tmp_path: Path, undisturbed: dict[str, Path]
) -> None:
    halfway(shards, tmp_path)
    torch.rand(100)  # random states must come from the checkpoint
    watched = Watched()
    resumed = make_job(shards, tmp_path, EmbeddingConfig(dim=8), watched)
    torch.rand(100)
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8), watched)
    assert trainer.progress.step == resumed.progress.step == 10
    train(trainer, tmp_path)
    assert watched.steps == list(range(10, 20))
    expected = undisturbed["rowwise_adagrad"]
    assert_equal(saved_tensors(tmp_path / "step=00000020"), saved_tensors(expected))
    mine, theirs = (read_state(path)["values"]["progress"] for path in (tmp_path / "step=00000020", expected))
    assert mine["loss_sum"] == theirs["loss_sum"]


def test_a_finished_job_does_not_train_again(shards: Path, ranks: Ranks, tmp_path: Path, undisturbed: dict[str, Path]) -> None:
    shutil.copytree(undisturbed["rowwise_adagrad"], tmp_path / "step=00000020")
    watched = Watched()
    train(make_job(shards, tmp_path, EmbeddingConfig(dim=8), watched), tmp_path)
    assert watched.steps == []


def test_the_newest_and_the_best_are_kept(shards: Path, ranks: Ranks, tmp_path: Path) -> None:
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8), retention=Retention(0, last=2, best="loss"))
    for step, loss in enumerate((0.5, 0.3, float("nan"), 0.4, 0.3, 0.6), start=1):
        trainer.checkpointer.save(trainer.state, step, {"loss": loss})
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "5", "6"]
    assert trainer.checkpointer.best() == tmp_path / "step=00000002"
    assert Checkpointer(tmp_path, Retention(0)).best() is None


def test_the_best_by_normalised_entropy_is_kept(shards: Path, ranks: Ranks, tmp_path: Path) -> None:
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8), retention=Retention(5, last=1, best="ne"))
    train(trainer, tmp_path)
    assert trainer.checkpointer.best() is not None
    assert read_state(trainer.checkpointer.best())["figures"]["ne"] > 0  # type: ignore[arg-type]


def test_final_weights_are_those_of_the_newest_or_none(shards: Path, ranks: Ranks, tmp_path: Path) -> None:
    """The checkpoint before a damaged one is of a training half done, and a reader renames nothing."""
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8), retention=Retention(10, last=2))
    train(trainer, tmp_path)
    model = trainer.parts.model
    assert Checkpointer(tmp_path, Retention(0)).load_final_weights(model)
    assert not Checkpointer(tmp_path / "none", Retention(0)).load_final_weights(model)
    flip(tmp_path / "step=00000020" / "tensors" / "__0_0.distcp")
    with pytest.raises(ConfigError, match=r"step=00000020 is damaged .*train again"):
        Checkpointer(tmp_path, Retention(0)).load_final_weights(model)
    assert sorted(path.name for path in tmp_path.glob("*=*")) == ["step=00000010", "step=00000020"]


def test_a_disk_that_fills_up_is_told_and_leaves_the_checkpoint_before(
    shards: Path, ranks: Ranks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8))
    trainer.checkpointer.save(trainer.state, 1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"writing-00000002: the checkpoint cannot be written, is the disk full\?"):
        trainer.checkpointer.save(trainer.state, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step=00000001"]


def test_a_gpu_goes_on_from_a_checkpoint_of_a_cpu(shards: Path, ranks: Ranks, tmp_path: Path) -> None:
    """Its random state is not in there, and stays as it was seeded."""
    trainer = make_job(shards, tmp_path, EmbeddingConfig(dim=8))
    trainer.checkpointer.save(trainer.state, 1)
    tensors = trainer.state.tensors() | {"rng.cuda.0": torch.zeros(16, dtype=torch.uint8)}
    assert "rng.cpu.0" in _fill(tensors, tmp_path / "step=00000001")
    assert "rng.cuda.0" not in _fill(tensors, tmp_path / "step=00000001")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "tensors cut off": ("tensors/__0_0.distcp", truncate),
    "a bit flipped": ("tensors/__0_0.distcp", flip),
    "tensors missing": ("tensors/__0_0.distcp", Path.unlink),
    "no table of contents": ("tensors/tensors.json", Path.unlink),
    "state cut off": ("state.json", truncate),
    "state missing": ("state.json", Path.unlink),
    "state of another kind": ("state.json", lambda path: path.write_text("[]")),
    "no checksums": ("checksums.json", Path.unlink),
    "checksums cut off": ("checksums.json", truncate),
    "checksums of another kind": ("checksums.json", lambda path: path.write_text("[1]")),
}


@pytest.fixture(scope="module")
def killed(shards: Path, ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    halfway(shards, folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(
    shards: Path, tmp_path: Path, killed: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(killed, folder)
    name, change = DAMAGES[damage]
    change(folder / "step=00000010" / name)
    trainer = make_job(shards, folder, EmbeddingConfig(dim=8))
    (told,) = [record.message for record in caplog.records if "damaged" in record.message]
    assert re.search(r"step=00000010 is damaged \(.+\): it is set aside and the one before it is used$", told)
    assert trainer.progress.step == 5
    assert sorted(path.name for path in folder.iterdir()) == ["damaged-step=00000010", "step=00000005"]


def test_without_a_whole_checkpoint_training_starts_anew(shards: Path, tmp_path: Path, killed: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(killed, folder)
    for path in folder.glob("step=*/state.json"):
        truncate(path)
    assert make_job(shards, folder, EmbeddingConfig(dim=8)).progress.step == 0
    assert len(list(folder.glob("damaged-*"))) == 2


class Attack:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_no_pickle_from_outside_is_executed(shards: Path, tmp_path: Path, killed: Path) -> None:
    folder, proof = tmp_path / "checkpoint", tmp_path / "executed"
    shutil.copytree(killed, folder)
    attacked = folder / "step=00000010"
    evil = pickle.dumps(Attack(proof))
    (attacked / "tensors" / ".metadata").write_bytes(evil)  # where DCP itself looks
    (attacked / "tensors" / "__0_0.distcp").write_bytes(evil)
    contents = json.loads((attacked / "tensors" / "tensors.json").read_text())
    for chunk in contents["chunks"]:
        chunk |= {"start": 0, "length": len(evil)}
    (attacked / "tensors" / "tensors.json").write_text(json.dumps(contents))
    checkpointer = Checkpointer(folder, Retention(0))
    # an attacker can make checksums too
    (attacked / "checksums.json").unlink()
    (attacked / "checksums.json").write_text(json.dumps(checkpoint._checksums(attacked)))
    job = make_job(shards, tmp_path / "fresh", EmbeddingConfig(dim=8)).state
    with pytest.raises(ConfigError, match=r"step=00000010 was not written by this program \(.+\): nothing in it was run; remove it"):
        checkpointer.load(job)
    assert not proof.exists()
    pickle.loads(evil)
    assert proof.exists(), "the attack of this test would do nothing"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"dim": 8, "max_rows": 6}, r"of tables of another size: t_C1 has 11 rows x 8 there and 6 x 8 here; set embedding.max_rows"),
        ({"dim": 4}, r"t_C1 has 11 rows x 8 there and 11 x 4 here"),
        (
            {"dim": 8, "optimizer": "adagrad"},
            r"holds \[11\] for tables.t_C1.momentum1 where this job has \[11, 8\]: it is of another model",
        ),
        ({"dim": 8, "optimizer": "sgd"}, r"holds \[11\] for tables.t_C1.momentum1 where this job has nothing"),
    ],
)
def test_checkpoints_of_other_tables_and_optimizers_are_refused(shards: Path, killed: Path, wish: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_job(shards, killed, EmbeddingConfig(**wish))


def test_a_checkpoint_of_another_schema_is_refused(ranks: Ranks, shards: Path, tmp_path: Path, killed: Path) -> None:
    job = make_job(shards, tmp_path, EmbeddingConfig(dim=8)).state
    values = read_state(killed / "step=00000010")["values"]
    values["tables"]["t_C9"] = values["tables"].pop("t_C1")
    with pytest.raises(ConfigError, match="here is of another schema: only this job has a table t_C1; give the run another name"):
        job.check(values, "here")


def on_ranks(folder: Path, world_size: int, actions: list[dict[str, Any]]) -> None:
    path = folder / f"actions-{world_size}.json"
    path.write_text(json.dumps(actions))
    run_on_ranks("tests.recsys_nas.training.small_job", world_size, str(path))


def copied(checkpoint: Path, folder: Path) -> str:
    shutil.copytree(checkpoint, folder / checkpoint.name)
    return str(folder)


@pytest.mark.slow
def test_other_plans_and_world_sizes_load_exactly(shards: Path, tmp_path: Path, undisturbed: dict[str, Path], ranks: Ranks) -> None:
    """From 1 rank to 2 under every sharding type, from there to 3 under another one, and what 3 saved is what 1 had."""
    kinds = [(ROWWISE, kind) for kind in ("table_wise", "row_wise", "table_row_wise", "data_parallel")]
    kinds += [(ADAGRAD, kind) for kind in ("column_wise", "grid_shard")]
    chains = []
    for number, (wish, kind) in enumerate(kinds):
        others = [other for same, other in kinds if same is wish]
        chains.append((wish, kind, others[(others.index(kind) + 1) % len(others)], tmp_path / f"{number}"))
    for wish, _, _, folder in chains:
        copied(undisturbed[str(wish["optimizer"])], folder / "from-1")

    def action(wish: dict[str, Any], kind: str, source: Path, into: Path) -> dict[str, Any]:
        places = {"shards": str(shards), "folder": str(source), "into": str(into)}
        return {"action": "save_again", "embedding": wish | {"sharding": [kind]}} | places

    def training(folder: str, **more: Any) -> dict[str, Any]:
        places = {"shards": str(shards), "folder": str(tmp_path / folder)}
        return {"action": "train", "embedding": ROWWISE | {"sharding": ["row_wise"]}} | places | more

    halfway(shards, tmp_path / "killed on one")
    actions = [action(wish, kind, f / "from-1", f / "from-2") for wish, kind, _, f in chains]
    actions += [training("killed on one"), training("on two"), training("killed on two", kill_at=12), training("killed on two")]
    on_ranks(tmp_path, 2, actions)
    on_ranks(tmp_path, 3, [action(wish, other, f / "from-2", f / "from-3") for wish, _, other, f in chains])
    for wish, kind, other, folder in chains:
        expected = saved_tensors(undisturbed[str(wish["optimizer"])])
        for world_size in (2, 3):
            got = folder / f"from-{world_size}" / "step=00000020"
            plan = read_state(got)["values"]["plan"]
            assert (plan["world_size"], plan["tables"][0]["sharding"]) == (world_size, kind if world_size == 2 else other)
            assert_equal(saved_tensors(got), expected)
    last = {name: saved_tensors(tmp_path / name / "step=00000020") for name in ("killed on one", "on two", "killed on two")}
    assert_equal(last["killed on two"], last["on two"], 1e-6)
    # on other ranks sums of gradients are rounded in another order
    assert_equal(last["killed on one"], saved_tensors(undisturbed["rowwise_adagrad"]), 1e-5)
    # saved by 3 ranks, loaded by this one
    wish, _, _, folder = chains[0]
    loaded = make_job(shards, folder / "from-3", EmbeddingConfig(**wish))
    assert_equal(saved_tensors_of(loaded), saved_tensors(undisturbed["rowwise_adagrad"]))


def saved_tensors_of(trainer: Trainer) -> dict[str, Tensor]:
    folder = trainer.checkpointer.folder.parent / "again"
    Checkpointer(folder, Retention(0)).save(trainer.state, trainer.progress.step)
    return saved_tensors(folder / f"step={trainer.progress.step:08d}")
