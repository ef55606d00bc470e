"""One DLRM trained two ways on the same batches in memory: through our loop, and by the loop that TorchRec's own examples write.

What both have in common: tables planned by TorchRec's planner, fused row-wise Adagrad, fused Adam for the dense half, the
same sizes, the same batches. What differs is ours to answer for: regrouping features by name, our average of gradients instead
of DistributedDataParallel, checks of ids, the loss over all ranks, telemetry.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.types import ParameterConstraints
from torchrec.models.dlrm import DLRM
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizerWrapper
from torchrec.optim.optimizers import in_backward_optimizer_filter

from data_prep.part_files import write_part
from data_prep.schema import criteo_schema
from data_prep.shards import DayEntry, Manifest, Part, write_manifest
from embeddings.sharding import _OPTIMIZERS
from recsys_nas.config import from_mapping, to_toml
from recsys_nas.jobs.assembly import Recipe, Run, assemble
from recsys_nas.jobs.environment import Ranks
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.optimizers import adam
from recsys_nas.training.reader import Batch, ShardReader
from recsys_nas.training.telemetry import Telemetry
from recsys_nas.training.trainer import LogLoss
from recsys_nas.zoo.networks import NETWORKS

LEARNING_RATE, TABLE_LEARNING_RATE, EPS = 1e-3, 0.05, 1e-8
SHARDING = "table_wise"


@dataclass(frozen=True)
class Sizes:
    """`batch`: rows of one rank's step. `steps`: of one timed run. `distinct`: batches kept in memory and gone through again and again.

    `pipeline`: "off" trains one batch after the other, "on" in TrainPipelineSparseDist.
    """

    batch: int = 2048
    table_rows: int = 100_000
    dim: int = 16
    steps: int = 60
    distinct: int = 16
    pipeline: str = "off"


Reader = TypeVar("Reader", bound="InMemoryReader")
Loop = Callable[[], float]
"""Trains for the steps of one timed run and returns the seconds that took on this rank."""


def write_run(folder: Path, sizes: Sizes, world_size: int) -> None:
    """A run folder over shards of random rows in Criteo's shape, Zipf-like ids, as many as stay in memory."""
    generator, rows = np.random.default_rng(0), sizes.batch * world_size * sizes.distinct
    schema = criteo_schema(sizes.table_rows)
    dense = generator.exponential(size=(rows, len(schema.dense))).astype(np.float32)
    sparse = (generator.zipf(1.2, size=(rows, len(schema.sparse))) % sizes.table_rows).astype(np.int32)
    label = (generator.random((rows, 1)) < 0.25).astype(np.int32)
    part = write_part(folder / "shards" / "day=00" / "part-00000", "day=00/part-00000", Part(dense, sparse, label))
    write_manifest(folder / "shards", Manifest(schema, {}, (DayEntry(0, rows, int(label.sum()), (part,)),)))
    raw = {
        "name": "run",
        "output": str(folder),
        "data": {"shards": str(folder / "shards"), "search_days": "0", "train_days": "0", "test_day": 1},
        "embedding": {"dim": sizes.dim, "learning_rate": TABLE_LEARNING_RATE, "sharding": [SHARDING], "pipeline": sizes.pipeline},
        "retrain": {"batch_size": sizes.batch * world_size, "learning_rate": LEARNING_RATE},
    }
    config = from_mapping(raw, where="benchmark")
    config.run_folder.mkdir()
    (config.run_folder / "config.toml").write_text(to_toml(config), encoding="utf-8")


class InMemoryReader(ShardReader):
    """The batches of a reader, read once, handed out again and again for `steps` steps."""

    def __init__(self, reader: ShardReader, steps: int) -> None:
        self.__dict__.update(reader.__dict__)
        self.batches = list(reader)
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        return (self.batches[number % len(self.batches)] for number in range(self.steps))


class TimedReader(InMemoryReader):
    """Batches from shards on disk, pass after pass for `steps` steps; `waited` adds up the seconds the loop waited for one."""

    def __init__(self, reader: ShardReader, steps: int) -> None:
        self.__dict__.update(reader.__dict__)
        self._reader = reader
        self.steps = steps
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        passes = itertools.chain.from_iterable(itertools.repeat(self._reader))
        for _ in range(self.steps):
            began = time.monotonic()
            batch = next(passes)
            self.waited += time.monotonic() - began
            yield batch


class _TakesBatch(nn.Module):
    """DLRM called with a whole batch, as TorchRec's pipeline wants it."""

    def __init__(self, dlrm: DLRM) -> None:
        super().__init__()
        self.dlrm = dlrm

    def forward(self, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = self.dlrm(batch.dense, batch.sparse)
        return logits


class _NoCheckpoints:
    """Neither loop saves: what a checkpoint costs is its own question."""

    def due(self, step: int) -> bool:
        return False

    def save(self, *arguments: Any) -> None: ...


def our_loop(folder: Path, sizes: Sizes, ranks: Ranks, kind: type[Reader]) -> tuple[Loop, Reader]:
    """The zoo's DLRM in `recsys_nas.training.trainer`, put together as a retraining job does it, fed by a reader of that kind."""
    run = Run.open(folder / "run")
    settings = run.config.retrain
    torch.manual_seed(0)
    reader = kind(run.reader([0], ranks, settings.batch_size, shuffle_seed=None), sizes.steps)
    network = NETWORKS["dlrm"](*run.sizes)
    recipe = Recipe(network, CtrModel, lambda n: {"weights": adam(n.parameters(), LEARNING_RATE)}, LogLoss(), settings)
    job = folder / "job"
    trainer = assemble(run, recipe, reader, ranks, 0, job)
    trainer.checkpointer = _NoCheckpoints()  # type: ignore[assignment]
    telemetry = Telemetry(job, reader.total_rows, 0, active=ranks.is_first)

    def loop() -> float:
        before = trainer.progress.train_seconds
        trainer.train(telemetry)
        _wait(ranks)
        return trainer.progress.train_seconds - before

    return loop, reader


def bare_torchrec(sizes: Sizes, ranks: Ranks, batches: list[Batch]) -> Loop:
    """TorchRec's DLRM in DistributedModelParallel with everything it defaults to, and the loop of its examples."""
    torch.manual_seed(0)
    names = batches[0].sparse.keys()
    tables = EmbeddingBagCollection(
        device=torch.device("meta"),
        tables=[
            EmbeddingBagConfig(name=f"t_{name}", embedding_dim=sizes.dim, num_embeddings=sizes.table_rows, feature_names=[name])
            for name in names
        ],
    )
    network = _TakesBatch(DLRM(tables, batches[0].dense.shape[1], [512, 256, 64, sizes.dim], [512, 256, 1], dense_device=ranks.device))
    fused = {"optimizer": _OPTIMIZERS["rowwise_adagrad"], "learning_rate": TABLE_LEARNING_RATE, "eps": EPS}
    sharder = EmbeddingBagCollectionSharder(fused_params=fused)
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=ranks.world_size, compute_device=ranks.device.type),
        constraints={f"t_{name}": ParameterConstraints(sharding_types=[SHARDING]) for name in names},
    )
    plan = planner.collective_plan(network, [sharder], dist.group.WORLD)
    model = DistributedModelParallel(network, device=ranks.device, plan=plan, sharders=[sharder])
    dense = dict(in_backward_optimizer_filter(model.named_parameters()))
    wrapped = KeyedOptimizerWrapper(dense, lambda parameters: torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True))
    optimizer = CombinedOptimizer([model.fused_optimizer, wrapped])
    step = _pipelined(model, optimizer, ranks) if sizes.pipeline == "on" else _plain(model, optimizer, ranks)

    def loop() -> float:
        model.train()
        began = time.monotonic()
        step(batches[number % len(batches)] for number in range(sizes.steps))
        _wait(ranks)
        return time.monotonic() - began

    return loop


def _plain(model: nn.Module, optimizer: CombinedOptimizer, ranks: Ranks) -> Callable[[Iterator[Batch]], None]:
    def steps(batches: Iterator[Batch]) -> None:
        for batch in batches:
            batch = batch.to(ranks.device, non_blocking=True)
            optimizer.zero_grad()
            _loss(model, batch).backward()
            optimizer.step()

    return steps


def _pipelined(model: nn.Module, optimizer: CombinedOptimizer, ranks: Ranks) -> Callable[[Iterator[Batch]], None]:
    from torchrec.distributed.train_pipeline import TrainPipelineSparseDist

    pipeline = TrainPipelineSparseDist(model, optimizer, ranks.device, custom_model_fwd=lambda batch: (_loss(model, batch), batch))

    def steps(batches: Iterator[Batch]) -> None:
        try:
            while True:
                pipeline.progress(batches)
        except StopIteration:
            return

    return steps


def _loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(model(batch).squeeze(1), batch.labels)


def _wait(ranks: Ranks) -> None:
    """Until what was started on a GPU is done."""
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)
