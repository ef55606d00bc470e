"""Sharding a model's tables over the ranks of a job, with the optimizer fused into their backward pass."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import nn
from torch.distributed._shard.sharding_spec import EnumerableShardingSpec, ShardMetadata
from torchrec import EmbeddingBagCollection
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.distributed.planner.utils import placement
from torchrec.distributed.types import EmbeddingModuleShardingPlan, ParameterSharding, ShardingPlan
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizerWrapper

from data_prep.schema import Schema
from data_prep.wording import counted
from embeddings.config import EmbeddingConfig
from embeddings.errors import TableError
from embeddings.first_rank import on_first_rank
from embeddings.initialise import initialise_tables
from embeddings.plan import WITHIN_A_HOST, Plan, TablePlan
from embeddings.planner import AnySharder, Machine, make_plan
from embeddings.replicated import replicated_optimizer
from embeddings.tables import embedding_tables, table_rows

_OPTIMIZERS = {
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
    "sgd": EmbOptimType.EXACT_SGD,
    "adam": EmbOptimType.EXACT_SGD,  # no table is fused then, and the kernel is to be told something
}


@dataclass(frozen=True)
class ShardedModel:
    """A model with its tables sharded by `plan`. `optimizer` is that of all tables, fused and replicated ones;
    `rows_by_feature` the rows of each feature's table; `replicated` the weights of the data-parallel tables."""

    model: DistributedModelParallel
    plan: Plan
    optimizer: CombinedOptimizer
    rows_by_feature: Mapping[str, int]
    replicated: Mapping[str, nn.Parameter]


def shard(
    schema: Schema,
    config: EmbeddingConfig,
    build: Callable[[EmbeddingBagCollection], nn.Module],
    device: torch.device,
    seed: int,
    batch_size: int = 1024,
    lengths: Mapping[str, float] | None = None,
) -> ShardedModel:
    """Shard the tables of `schema` inside the model that `build` makes around them, over the default process group.

    The tables return the sum of each list, and the model takes the mean (`averages`, `embeddings.tables.mean_of_sums`):
    TorchRec's own mean is a sum under grid sharding, and divides other features too where one is row-wise (docs/log.md).
    They are planned for `batch_size` rows a step over all ranks and lists of mean `lengths` (`embeddings.planner`), sharded,
    and filled from `seed`, so that weights, logits and training are the same for any plan and world size. The rest of the model is
    replicated. Raises TableError, on every rank, when the tables do not fit or the plan of the config is for others.
    """
    world_size = dist.get_world_size()
    # Placements, and TorchRec's groups within a host and across hosts, follow the launcher.
    local_size = ranks_per_host(world_size)
    machine = Machine.of(config, world_size, local_size, device.type)
    plan = on_first_rank(lambda: make_plan(schema, config, machine, batch_size, lengths))
    _check_hosts(plan, local_size)
    tables = embedding_tables(schema, dataclasses.replace(config, pooling="sum"))
    model = build(tables)
    path = next(name for name, module in model.named_modules() if module is tables)
    sharded = DistributedModelParallel(
        model,
        device=device,
        plan=torchrec_plan(plan, path, device, local_size),
        sharders=[AnySharder(fused_params=_fused_params(config))],
        # No DistributedDataParallel around the rest: the trainer averages its gradients (training/optimizers.py says why).
        init_data_parallel=False,
    )
    for module in sharded.modules():
        if isinstance(module, ShardedEmbeddingBagCollection):
            initialise_tables(module, seed, config.init_scale)
    replicated = _replicated(sharded, plan, path)
    return ShardedModel(sharded, plan, _tables_optimizer(sharded, replicated, config), table_rows(schema, config), replicated)


def _check_hosts(plan: Plan, local_size: int) -> None:
    """Raise TableError for tables spread within hosts that are not those of the launcher; TorchRec's groups would not be theirs."""
    within = [table for table in plan.tables if table.sharding in WITHIN_A_HOST]
    if within and plan.ranks_per_host != local_size:
        hosts = f"for hosts of {counted(plan.ranks_per_host, 'rank')}, and the launcher's have {local_size}"
        raise TableError(f"{within[0].name} is planned {within[0].sharding} {hosts}; set embedding.ranks_per_host = {local_size} or 0")


def averages(schema: Schema, config: EmbeddingConfig) -> bool:
    """Whether a model above sharded tables has to take means (`shard`)."""
    return bool(schema.jagged) and config.pooling == "mean"


def ranks_per_host(world_size: int) -> int:
    """Ranks on this host, as the launcher says; all of them where it says nothing, or something that cannot be."""
    told = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    return told if told and world_size % told == 0 else world_size


def torchrec_plan(plan: Plan, path: str, device: torch.device, local_size: int) -> ShardingPlan:
    """The plan in TorchRec's form, for the collection at `path` in the model."""
    parameters = {table.name: _parameter_sharding(table, device, local_size) for table in plan.tables}
    return ShardingPlan({path: EmbeddingModuleShardingPlan(parameters)})


def _parameter_sharding(table: TablePlan, device: torch.device, local_size: int) -> ParameterSharding:
    spec = None
    if table.sharding != "data_parallel":
        places = [placement(device.type, shard.rank, local_size) for shard in table.shards]
        spec = EnumerableShardingSpec(
            [ShardMetadata([s.row, s.column], [s.rows, s.columns], place) for s, place in zip(table.shards, places, strict=True)]
        )
    ranks = [shard.rank for shard in table.shards]
    return ParameterSharding(sharding_type=table.sharding, compute_kernel=table.kernel, ranks=ranks, sharding_spec=spec)


def _fused_params(config: EmbeddingConfig) -> dict[str, Any]:
    return {"optimizer": _OPTIMIZERS[config.optimizer], "learning_rate": config.learning_rate, "eps": config.eps}


def _replicated(sharded: DistributedModelParallel, plan: Plan, path: str) -> dict[str, nn.Parameter]:
    names = {f"{path}.embedding_bags.{table.name}.weight" for table in plan.tables if table.sharding == "data_parallel"}
    return {name: parameter for name, parameter in sharded.named_parameters() if name in names}


def _tables_optimizer(
    sharded: DistributedModelParallel, replicated: Mapping[str, nn.Parameter], config: EmbeddingConfig
) -> CombinedOptimizer:
    optimizers: list[Any] = [("", sharded.fused_optimizer)]
    if replicated:
        optimizers.append(("", KeyedOptimizerWrapper(replicated, lambda tables: replicated_optimizer(tables, config))))
    return CombinedOptimizer(optimizers)
