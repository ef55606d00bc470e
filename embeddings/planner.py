"""Deciding which rank holds which part of which table: TorchRec's planner with the machine's memory and the config's wishes.

Planning needs no process group, so a plan for many ranks can be looked at on one machine before anything is started.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchrec import EmbeddingBagCollection
from torchrec.distributed.embedding_types import EmbeddingComputeKernel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.enumerators import EmbeddingEnumerator
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import ParameterConstraints, PlannerError, PlannerErrorType, ShardingOption
from torchrec.distributed.types import ShardingType
from torchrec.optim import SGD, Adagrad, Adam, RowWiseAdagrad

from data_prep.schema import Schema
from data_prep.wording import counted
from embeddings.config import EmbeddingConfig
from embeddings.errors import DoesNotFit, TableError
from embeddings.host_memory import host_memory
from embeddings.plan import ON_CPU, Memory, Plan, TablePlan, TableShard
from embeddings.plan_text import human_bytes
from embeddings.tables import embedding_tables, table_name

GIB = 2**30
ELEMENT_BYTES = 4
# Of a rank's memory: for the dense half, its optimizer and activations, and the process itself.
RESERVED_SHARE = 0.15
_OPTIMIZER_CLASSES = {"rowwise_adagrad": RowWiseAdagrad, "adagrad": Adagrad, "sgd": SGD, "adam": Adam}


@dataclass(frozen=True)
class Machine:
    """Where a job runs: its ranks, how many of them share a host, and the bytes that a rank may fill, on its GPU and of its host."""

    device: str
    world_size: int
    ranks_per_host: int
    hbm: int
    ddr: int

    @staticmethod
    def of(config: EmbeddingConfig, world_size: int, ranks_per_host: int, device: str) -> Machine:
        """As the config says, and as this machine is where it says nothing. Raises TableError for a GPU whose memory nobody named."""
        ranks_per_host = min(config.ranks_per_host or ranks_per_host, world_size)
        if world_size % ranks_per_host:
            text = f"{world_size} ranks do not fill hosts of {ranks_per_host}; choose a multiple, or set embedding.ranks_per_host"
            raise TableError(text)
        if device == "cuda" and not config.hbm_gb and not torch.cuda.is_available():
            raise TableError("planning for GPUs on a machine without one: set embedding.hbm_gb to the memory of each, in GiB")
        hbm = config.hbm_gb * GIB or (torch.cuda.get_device_properties(0).total_memory if device == "cuda" else 0)
        ddr = config.ddr_gb * GIB or host_memory()
        kept = 1 - RESERVED_SHARE
        return Machine(device, world_size, ranks_per_host, int(hbm * kept), int(ddr * kept / ranks_per_host))

    @property
    def capacity(self) -> int:
        """Bytes for tables on each rank's device."""
        return self.hbm if self.device == "cuda" else self.ddr

    def topology(self) -> Topology:
        return Topology(
            world_size=self.world_size,
            local_world_size=self.ranks_per_host,
            compute_device=self.device,
            hbm_cap=self.hbm,
            ddr_cap=self.ddr,
            ssd_cap=0,
        )


class AnySharder(EmbeddingBagCollectionSharder):
    """Allows every sharding type on every device: TorchRec lists the row-wise ones for GPUs only, but gloo can do them too."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        kinds = ("DATA_PARALLEL", "TABLE_WISE", "COLUMN_WISE", "ROW_WISE", "TABLE_ROW_WISE", "GRID_SHARD")
        return [ShardingType[kind].value for kind in kinds]


class _OrderedEnumerator(EmbeddingEnumerator):
    """TorchRec takes the options from sets of strings, so that its choice among equals would change from process to process."""

    def _filter_sharding_types(self, *arguments: object, **named: object) -> list[str]:
        return sorted(super()._filter_sharding_types(*arguments, **named))

    def _filter_compute_kernels(self, *arguments: object, **named: object) -> list[str]:
        return sorted(super()._filter_compute_kernels(*arguments, **named))


def make_plan(
    schema: Schema, config: EmbeddingConfig, machine: Machine, batch_size: int, lengths: Mapping[str, float] | None = None
) -> Plan:
    """The plan for `batch_size` rows a step over all ranks: the one of `config.plan`, or the best that the planner finds.

    `lengths` are the mean lengths of the lists of each jagged feature; one that is not in it counts as full ones.
    Raises TableError in one line when the tables do not fit, a constraint names an unknown feature, or the plan of the
    file is not for these tables and ranks.
    """
    tables = embedding_tables(schema, config)
    sizes = table_sizes(tables)
    if config.plan:
        return _plan_of_file(config, machine, sizes)
    for parameter in tables.parameters():  # for its estimates of memory
        parameter._optimizer_classes = [_OPTIMIZER_CLASSES[config.optimizer]]
    constraints = _constraints(schema, config, machine, lengths or {})
    with _quiet():
        topology = machine.topology()
    share = -(-batch_size // machine.world_size)
    planner = EmbeddingShardingPlanner(
        topology=topology,
        batch_size=share,
        enumerator=_OrderedEnumerator(topology, share, constraints),
        storage_reservation=FixedPercentageStorageReservation(0.0),
        constraints=constraints,
        stats=[],
        debug=False,
    )
    try:
        with _quiet():
            planner.plan(nn.ModuleDict({"tables": tables}), [AnySharder()])
    except PlannerError as error:
        raise _why_not(error, sizes, config, machine) from error
    plans = (_table_plan(option, sizes, config) for option in planner._best_plan)
    by_name = {table.name: table for table in plans}
    return Plan(machine.world_size, machine.ranks_per_host, machine.device, machine.capacity, tuple(by_name[name] for name in sizes))


def _plan_of_file(config: EmbeddingConfig, machine: Machine, sizes: Mapping[str, tuple[int, int]]) -> Plan:
    """It may have been made under another config, or edited, and is held to what the planner is held to."""
    plan = Plan.read(Path(config.plan))
    plan.check(sizes, machine.world_size, machine.ranks_per_host, config.plan)
    for table in plan.tables:
        narrowest = min(shard.columns for shard in table.shards)
        try:
            config.check_sharding(f"{config.plan}: {table.name}", (table.sharding,), narrowest if narrowest < table.dim else 0)
        except ValueError as error:
            raise TableError(str(error)) from error
        if machine.device == "cpu" and table.kernel not in ON_CPU:
            raise TableError(f"{config.plan}: {table.name} has kernel {table.kernel!r}, which needs GPUs; plan again for CPUs")
    return plan


def table_sizes(tables: EmbeddingBagCollection) -> dict[str, tuple[int, int]]:
    """(rows, dim) of each table by name, in the order of the collection."""
    return {table.name: (table.num_embeddings, table.embedding_dim) for table in tables.embedding_bag_configs()}


def state_bytes(optimizer: str, rows: int, columns: int) -> int:
    """Bytes of optimizer state of a shard, float32: one number a row, one or two an element, or none."""
    return {"rowwise_adagrad": rows, "adagrad": rows * columns, "sgd": 0, "adam": 2 * rows * columns}[optimizer] * ELEMENT_BYTES


@contextmanager
def _quiet() -> Iterator[None]:
    """TorchRec warns of every data-parallel table, on the root logger, and of topologies not made by its newest factory."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _constraints(
    schema: Schema, config: EmbeddingConfig, machine: Machine, lengths: Mapping[str, float]
) -> dict[str, ParameterConstraints]:
    names, longest = [feature.name for feature in schema.categorical], {feature.name: feature.max_length for feature in schema.jagged}
    if unknown := sorted(set(config.tables) - set(names)):
        raise TableError(f"embedding.tables.{unknown[0]}: the data has no such feature; it has {', '.join(names)}")
    constraints = {}
    for name in names:
        wish = config.constraints(name)
        kinds = list(wish.sharding) or _suitable(config, machine)
        kernels = [*(wish.kernels or ("fused", "fused_uvm_caching")), EmbeddingComputeKernel.DENSE.value]
        if machine.device == "cpu" and "fused" not in kernels:
            raise TableError(f"kernels {list(wish.kernels)} of feature {name} need GPUs; a CPU job has only 'fused'")
        ids = float(lengths.get(name, longest.get(name, 1)))
        constraints[table_name(name)] = ParameterConstraints(kinds, kernels, wish.min_partition or config.dim, pooling_factors=[ids])
    return constraints


def _suitable(config: EmbeddingConfig, machine: Machine) -> list[str]:
    """What the planner may choose from where the config leaves it the choice."""
    if machine.world_size == 1:
        return ["table_wise"]
    kinds = ["table_wise", "row_wise"]
    if config.optimizer != "rowwise_adagrad" and config.min_partition:
        kinds.append("column_wise")
    return kinds + (["table_row_wise"] if 1 < machine.ranks_per_host < machine.world_size else [])


def _table_plan(option: ShardingOption, sizes: Mapping[str, tuple[int, int]], config: EmbeddingConfig) -> TablePlan:
    shards = []
    for shard in option.shards:
        (rows, columns), (row, column) = shard.size, shard.offset
        weights, state = rows * columns * ELEMENT_BYTES, state_bytes(config.optimizer, rows, columns)
        on_gpu, in_ddr = shard.storage.hbm, shard.storage.ddr
        buffers = max(0, on_gpu + in_ddr - weights - state)
        memory = Memory(weights, state, buffers, host=in_ddr if on_gpu else 0)
        shards.append(TableShard(shard.rank, row, column, rows, columns, memory))
    cost = sum(shard.perf.total for shard in option.shards)
    return TablePlan(option.name, *sizes[option.name], option.sharding_type, option.compute_kernel, tuple(shards), cost)


def _why_not(error: PlannerError, sizes: Mapping[str, tuple[int, int]], config: EmbeddingConfig, machine: Machine) -> TableError:
    if error.error_type not in (PlannerErrorType.INSUFFICIENT_STORAGE, PlannerErrorType.STRICT_CONSTRAINTS, PlannerErrorType.PARTITION):
        return TableError(f"TorchRec's planner found no plan: {str(error).splitlines()[0]}")
    need = sum(rows * dim * ELEMENT_BYTES + state_bytes(config.optimizer, rows, dim) for rows, dim in sizes.values())
    largest = max(sizes, key=lambda name: sizes[name][0])
    alone = sizes[largest][0] * sizes[largest][1] * ELEMENT_BYTES + state_bytes(config.optimizer, *sizes[largest])
    room = f"{machine.world_size} x {human_bytes(machine.capacity)} ({RESERVED_SHARE:.0%} of each rank's memory kept for the rest)"
    if need > machine.world_size * machine.capacity:
        ranks = -(-need // max(machine.capacity, 1))
        todo = f"take at least {counted(ranks, 'rank')}, a smaller embedding.dim, or a cap by embedding.max_rows"
    elif alone > machine.capacity:
        todo = f"allow row_wise in embedding.sharding, since {largest} alone takes {human_bytes(alone)}"
    else:
        todo = "take more ranks, row_wise in embedding.sharding, or a smaller batch_size, whose buffers count too"
    return DoesNotFit(f"the tables need {human_bytes(need)} for weights and optimizer state and have {room}; {todo}")
