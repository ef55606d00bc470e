"""Sharding a model's tables over the ranks of a job, with the optimizer fused into their backward pass."""

from __future__ import annotations

import torch
import torch.distributed as dist
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import nn
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.types import ParameterConstraints
from torchrec.distributed.types import ModuleSharder, ShardingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from embeddings.config import EmbeddingConfig
from embeddings.initialise import initialise_tables

_OPTIMIZERS = {
    "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
    "sgd": EmbOptimType.EXACT_SGD,
}

# Tables planned data_parallel would silently ignore the fused optimizer; the CPU planner knows these two.
_MODEL_PARALLEL = [ShardingType.TABLE_WISE.value, ShardingType.COLUMN_WISE.value]


def shard(
    model: nn.Module, tables: EmbeddingBagCollection, config: EmbeddingConfig, device: torch.device, seed: int
) -> DistributedModelParallel:
    """Wrap `model`, which holds `tables` on the meta device, in DistributedModelParallel over the default process group.

    The tables are planned, sharded, and filled from `seed` (the same weights for any plan); the rest of the model is
    replicated. Raises PlannerError of TorchRec when the tables do not fit the machine.
    """
    sharder: ModuleSharder[nn.Module] = EmbeddingBagCollectionSharder(
        fused_params={"optimizer": _OPTIMIZERS[config.optimizer], "learning_rate": config.learning_rate, "eps": config.eps}
    )
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=dist.get_world_size(), compute_device=device.type),
        constraints={table.name: ParameterConstraints(sharding_types=_MODEL_PARALLEL) for table in tables.embedding_bag_configs()},
    )
    plan = planner.collective_plan(model, [sharder], dist.group.WORLD)
    sharded = DistributedModelParallel(
        model,
        device=device,
        plan=plan,
        sharders=[sharder],
        # No DistributedDataParallel around the rest: the trainer averages its gradients (training/optimizers.py says why).
        init_data_parallel=False,
    )
    for module in sharded.modules():
        if type(module).__name__ == "ShardedEmbeddingBagCollection":
            initialise_tables(module, seed, config.init_scale)
    return sharded
