"""A small training job for tests of checkpoints, pipelines and failures, in this process or on several ranks.

As a program it runs a list of actions, `[{"action": "train" or "save_again", ...}]`, from the JSON file it is given, with a
timeout of collectives in seconds where one follows.
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from data_prep.shards import open_manifest
from embeddings.config import EmbeddingConfig
from embeddings.sharding import averages, shard
from embeddings.tables import table_rows
from recsys_nas.config import SpaceConfig
from recsys_nas.jobs.environment import COLLECTIVE_TIMEOUT, process_group, run_job
from recsys_nas.space import space_from_config
from recsys_nas.supernet import Supernet
from recsys_nas.training.checkpoint import Checkpointer, Retention
from recsys_nas.training.ctr_model import SearchModel
from recsys_nas.training.optimizers import adam
from recsys_nas.training.reader import ReaderOptions, ShardReader
from recsys_nas.training.schedules import Schedule
from recsys_nas.training.telemetry import Telemetry
from recsys_nas.training.tensor_files import TensorReader
from recsys_nas.training.trainer import LogLoss, Parts, Trainer

CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands in for SIGKILL: nothing may catch it."""


class Watched(LogLoss):
    """Remembers the steps it saw; kills the job, or fails in it, before the update of a given step."""

    def __init__(self, kill_at: int | None = None, fail_at: int | None = None, hang_s: float = 0.0) -> None:
        self.kill_at, self.fail_at, self.hang_s = kill_at, fail_at, hang_s
        self.steps: list[int] = []

    def before_update(self, step: int) -> None:
        if step == self.kill_at:
            raise Killed
        if step == self.fail_at:
            time.sleep(self.hang_s)
            raise RuntimeError(f"rank {dist.get_rank()} broke in step {step}")
        self.steps.append(step)


class ChangingNetwork(nn.Module):
    """Other layers are active in every step, as in a supernet, with dropout, so that random states matter."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(nn.Linear(features, 4) for _ in range(3))
        self.out = nn.Linear(4, 1)

    def forward(self, dense: Tensor, tokens: Tensor, step: int, rows: slice, step_rows: int) -> Tensor:
        inputs = torch.cat([dense, tokens.flatten(1)], dim=1)
        active = [path(inputs) for number, path in enumerate(self.paths) if (step >> number) % 2 == 0]
        hidden = torch.stack(active).sum(0) if active else inputs[:, :4]
        keep = (torch.rand(step_rows, 4) > 0.1)[rows] if self.training else torch.ones(())
        return self.out(torch.tanh(hidden) * keep).squeeze(1)


class SupernetOnPaths(nn.Module):
    """A supernet whose path changes with every batch."""

    def __init__(self, num_dense: int, num_sparse: int, dim: int) -> None:
        super().__init__()
        modules = {"dense_modules": ("linear", "fm", "dot_product"), "sparse_modules": ("embedded_fc", "self_attention")}
        space = space_from_config(SpaceConfig(**modules), num_dense, num_sparse, dim)  # type: ignore[arg-type]
        self.supernet = Supernet(space.full())
        self.members = [space.sample(random.Random(seed)) for seed in range(7)]

    def forward(self, dense: Tensor, tokens: Tensor, step: int, rows: slice, step_rows: int) -> Tensor:
        return self.supernet(dense, tokens, self.members[step % len(self.members)])


def make_job(
    shards: Path,
    folder: Path,
    embedding: EmbeddingConfig,
    objective: Watched | None = None,
    overlap: bool = False,
    retention: Retention | None = None,
    supernet: bool = False,
) -> Trainer:
    """A trainer over day 0 of `shards`, on all ranks of this process's group, at its newest checkpoint in `folder`."""
    torch.manual_seed(5)
    manifest = open_manifest(shards)
    rows = table_rows(manifest.schema, embedding)
    options = ReaderOptions(96, list(rows.values()), 3, rank=dist.get_rank(), world_size=dist.get_world_size())
    reader = ShardReader(shards, manifest, [0], options)
    dense, dim = len(manifest.schema.dense), embedding.dim
    network = SupernetOnPaths(dense, len(rows), dim) if supernet else ChangingNetwork(dense + len(rows) * dim)
    average = averages(manifest.schema, embedding)
    sharded = shard(manifest.schema, embedding, lambda tables: SearchModel(tables, list(rows), network, average=average), CPU, 2, 96)
    parts = Parts(sharded, {"weights": adam(network.parameters(), 1e-2)}, objective or Watched(), reader, CPU, Schedule("linear"), overlap)
    trainer = Trainer(parts, Checkpointer(folder, retention or Retention(5, 2)))
    trainer.resume()
    return trainer


def train(trainer: Trainer, folder: Path) -> Trainer:
    trainer.train(Telemetry(folder, trainer.parts.reader.total_rows, trainer.progress.step, active=False))
    return trainer


def saved_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, whole, whatever plan and ranks it was saved by; random states left out."""
    reader = TensorReader(checkpoint / "tensors")
    tensors = reader.empty_tensors(CPU)
    dcp.load(tensors, storage_reader=reader)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("rng.")}


def run(action: dict[str, Any]) -> None:
    shards, folder = Path(action["shards"]), Path(action["folder"])
    wish: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in action["embedding"].items()}
    embedding = EmbeddingConfig(**wish)
    fails = action.get("fail_at") if dist.get_rank() == action.get("fail_rank") else None
    watched = Watched(action.get("kill_at"), fails, action.get("hang_s", 0.0))
    trainer = make_job(shards, folder, embedding, watched, action.get("overlap", False), supernet=action.get("supernet", False))
    if action["action"] == "save_again":
        trainer.checkpointer = Checkpointer(Path(action["into"]), Retention(0))
        trainer.checkpointer.save(trainer.state, trainer.progress.step)
        return
    try:
        train(trainer, folder)
    except Killed:
        return


def main() -> None:
    torch.set_num_threads(1)
    timeout = timedelta(seconds=float(sys.argv[2])) if len(sys.argv) > 2 else COLLECTIVE_TIMEOUT
    with process_group(timeout):
        for action in json.loads(Path(sys.argv[1]).read_text()):
            run(action)


if __name__ == "__main__":
    run_job(main)
