"""From a run's config to a trainer: data, tables, network, optimizers, put together in one place for every job."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchrec import EmbeddingBagCollection

from data_prep.paths import is_remote, local_path
from data_prep.schema import Schema
from data_prep.shards import Manifest, open_manifest
from data_prep.staging import staged
from embeddings.lookup_cost import LookupCost, lookup_cost, mean_lengths
from embeddings.plan_text import plan_text
from embeddings.sharding import averages, shard
from embeddings.tables import table_rows
from recsys_nas.config import Config, ConfigError, load_config, parse_days
from recsys_nas.jobs.environment import Ranks
from recsys_nas.judged_days import scored_days
from recsys_nas.space import SearchSpace, space_from_config
from recsys_nas.training.checkpoint import Checkpointer, NoCheckpoints, Retention
from recsys_nas.training.computation import Computation
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.reader import ReaderOptions, ShardReader
from recsys_nas.training.settings import TrainingConfig
from recsys_nas.training.trainer import Objective, Parts, Trainer, Validation


@dataclass(frozen=True)
class Run:
    """A run folder opened for a job; `shards` is where its days lie on this machine, once they are `staged` if they have to be."""

    folder: Path
    config: Config
    shards: Path
    manifest: Manifest

    @staticmethod
    def open(folder: Path) -> Run:
        config = load_config(folder / "config.toml")
        return Run(folder, config, _where(config.data.shards), open_manifest(config.data.shards))

    @contextmanager
    def staged(self, days: Sequence[int]) -> Iterator[Run]:
        """This run with `days` on a disk of this machine for as long as the block lasts; see `data_prep.staging`.

        Every rank calls it, before it joins the others: their patience is shorter than a copy of a day may take.
        """
        first_of_node = os.environ.get("LOCAL_RANK", "0") == "0"
        with staged(self.config.data.shards, self.manifest, days, self.config.data.staging, check=first_of_node) as root:
            yield dataclasses.replace(self, shards=root)

    @property
    def search_days(self) -> tuple[int, ...]:
        return parse_days(self.config.data.search_days, "data.search_days")

    @property
    def retrain_days(self) -> tuple[int, ...]:
        """Those that a model is trained, validated and judged on."""
        days = (*parse_days(self.config.data.train_days, "data.train_days"), *self.config.data.validation, *scored_days(self.config))
        return tuple(dict.fromkeys(days))

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(num_dense, num_sparse, embedding_dim) of every network of this run; a jagged feature is pooled to one embedding."""
        return len(self.schema.dense), len(self.schema.categorical), self.config.embedding.dim

    @cached_property
    def mean_lengths(self) -> Mapping[str, float]:
        """Of the lists of each jagged feature, over all days."""
        return mean_lengths(local_path(self.config.data.shards), self.manifest)

    @property
    def collective_timeout(self) -> timedelta:
        return timedelta(minutes=self.config.launch.collective_timeout_minutes)

    def space(self) -> SearchSpace:
        try:
            return space_from_config(self.config.space, *self.sizes)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def searching(self) -> Run:
        """This run as a search sees it, its tables capped by `search.max_rows`."""
        cap = self.config.search.max_rows or self.config.embedding.max_rows
        embedding = dataclasses.replace(self.config.embedding, max_rows=cap)
        return dataclasses.replace(self, config=dataclasses.replace(self.config, embedding=embedding))

    def lookup_cost(self) -> LookupCost:
        return lookup_cost(self.schema, self.config.embedding.dim, lengths=self.mean_lengths)

    def reader(
        self, days: Sequence[int], ranks: Ranks, batch_size: int, shuffle_seed: int | None, epochs: int = 1, **part: Any
    ) -> ShardReader:
        """Raises ConfigError. `part`: `rows`, `max_steps`, `shuffle_rows`, `days_in_order` and `held_out` of `ReaderOptions`."""
        rows = list(table_rows(self.schema, self.config.embedding).values())
        options = ReaderOptions(batch_size, rows, shuffle_seed, epochs=epochs, rank=ranks.rank, world_size=ranks.world_size, **part)
        try:
            return ShardReader(self.shards, self.manifest, days, options)
        except ValueError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True)
class Recipe:
    """What a job trains: the network, how a model holds it, the optimizers of the dense half, by name, and the rest of the rules."""

    network: nn.Module
    model: type[CtrModel]
    optimizers: Callable[[nn.Module], Mapping[str, torch.optim.Optimizer]]
    objective: Objective
    training: TrainingConfig
    validation: Validation | None = None


def assemble(run: Run, recipe: Recipe, reader: ShardReader, ranks: Ranks, seed: int, folder: Path | None) -> Trainer:
    """A trainer of `recipe.network` above sharded tables, at its newest checkpoint in `folder` if there is one.

    The plan of the tables is printed and written to `<folder>/plan.json`. Without a folder nothing is left behind.
    """
    names, embedding, training = [feature.name for feature in run.schema.categorical], run.config.embedding, recipe.training
    recipe.network.to(ranks.device)
    computation = Computation.of(training)

    def build(tables: EmbeddingBagCollection) -> CtrModel:
        lookups = averages(run.schema, embedding)
        return recipe.model(tables, names, recipe.network, embedding.decay_of_lookups, lookups, computation)

    if ranks.is_first and (warning := computation.slow_on(ranks.device)):
        _warn_once(warning)
    sharded = shard(run.schema, embedding, build, ranks.device, seed, reader.options.batch_size, run.mean_lengths)
    if ranks.is_first and folder is not None:
        print(plan_text(sharded.plan), flush=True)
        sharded.plan.write(folder / "plan.json")
    overlap = embedding.pipeline == "on" or (embedding.pipeline == "auto" and ranks.device.type == "cuda")
    optimizers = recipe.optimizers(recipe.network)
    validation = recipe.validation
    parts = Parts(sharded, optimizers, recipe.objective, reader, ranks.device, training.schedule, overlap, training.clip_norm, validation)
    best = f"valid_{validation.rules.monitor}" if validation else training.checkpoint_best
    retention = Retention(training.checkpoint_every_steps, training.checkpoint_keep, best)
    trainer = Trainer(parts, NoCheckpoints() if folder is None else Checkpointer(folder / "checkpoint", retention))
    trainer.resume()
    return trainer


@cache
def _warn_once(warning: str) -> None:
    """However many networks this process trains."""
    print(f"warning: {warning}", file=sys.stderr, flush=True)


def _where(shards: str) -> Path:
    return Path() if is_remote(shards) else local_path(shards)


def read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
