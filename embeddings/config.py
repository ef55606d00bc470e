"""What a user may set about the embedding tables. No torch here: the controller and the command line read it too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Sharding = Literal["table_wise", "column_wise", "row_wise", "table_row_wise", "grid_shard", "data_parallel"]
Kernel = Literal["fused", "fused_uvm", "fused_uvm_caching"]
Pooling = Literal["mean", "sum"]

OPTIMIZERS = ("rowwise_adagrad", "adagrad", "sgd", "adam")
WHOLE_TABLES = ("adam",)
"""Optimizers that go over every row of a table in every step: for small tables, which are then replicated on all ranks."""
# Kinds of fbgemm that assert on a CPU, where a failed rank would leave the others waiting.
_GPU_ONLY = ("partial_rowwise_adam", "lamb", "partial_rowwise_lamb", "lars_sgd", "lars")
_SPLITS_COLUMNS = ("column_wise", "grid_shard")


@dataclass(frozen=True)
class TableConstraints:
    """What the planner may do with one table; whatever is left empty is as for all tables."""

    sharding: tuple[Sharding, ...] = ()
    """Ways of sharding that the planner may choose from."""
    kernels: tuple[Kernel, ...] = ()
    """Where the table may lie: in device memory, in the host's, or there with a cache on the device."""
    min_partition: int = 0
    """Narrowest piece that a column-wise plan may cut; 0: whole rows."""


@dataclass(frozen=True)
class EmbeddingConfig:
    """Tables of one model: their width, their rows, the optimizer fused into their backward pass, and how they may be sharded."""

    dim: int = 16
    """Width of every embedding."""
    max_rows: int = 0
    """Caps every table; ids beyond it wrap around. 0: as many rows as the schema has ids."""
    pooling: Pooling = "mean"
    """How the rows of a list of ids become one embedding; an empty list gives zeros."""
    optimizer: str = "rowwise_adagrad"
    """`rowwise_adagrad`, `adagrad`, `sgd`, fused into the backward pass, or `adam`, over whole tables, replicated: for small ones."""
    learning_rate: float = 0.05
    """Of that optimizer."""
    eps: float = 1e-8
    """Added to the denominator of that optimizer."""
    weight_decay: float = 0.0
    """L2 penalty on the rows looked up (`embeddings.decay`); with `adam` on all rows, `weight_decay / 2 * sum(w^2)`."""
    init_scale: float = 0.05
    """Standard deviation of the normal draws that first fill the tables."""
    sharding: tuple[Sharding, ...] = ()
    """Ways of sharding that the planner may choose from; empty: whatever suits the job."""
    kernels: tuple[Kernel, ...] = ()
    """Where tables may lie: in device memory, in the host's, or there with a cache on the device; empty: whatever suits the job."""
    min_partition: int = 0
    """Narrowest piece that a column-wise plan may cut; 0: whole rows."""
    tables: dict[str, TableConstraints] = field(default_factory=dict)
    """`sharding`, `kernels` and `min_partition` of single features, by name."""
    plan: str = ""
    """Path of a `plan.json` to use instead of planning."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to plan for; `auto`: GPUs where the machine has one, in `recsys-nas plan` where `launch.gpus` says so."""
    ranks_per_host: int = 0
    """Ranks on one host; 0: as the launcher says."""
    hbm_gb: float = 0.0
    """Memory of each GPU, in units of 2^30 bytes; 0: as this machine's have."""
    ddr_gb: float = 0.0
    """Memory of each host, in units of 2^30 bytes; 0: that of this machine."""
    pipeline: Literal["auto", "on", "off"] = "auto"
    """Look rows up for the next batch while this one is computed; `auto`: on GPUs."""

    def __post_init__(self) -> None:
        if self.dim <= 0 or (self.dim % 4 and not self.over_whole_tables):
            raise ValueError(f"embedding.dim = {self.dim}: must be a positive multiple of 4 (a limit of the fused lookup kernels)")
        if self.max_rows < 0:
            raise ValueError(f"embedding.max_rows = {self.max_rows}: must be 0 (no cap) or a number of rows")
        for name in ("learning_rate", "eps", "init_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"embedding.{name} = {getattr(self, name)}: must be finite and above 0")
        for name in ("weight_decay", "ranks_per_host", "hbm_gb", "ddr_gb"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"embedding.{name} = {getattr(self, name)}: must be finite and 0 or more")
        self._check_optimizer()
        self.check_sharding("embedding", self.sharding, self.min_partition)
        for feature in self.tables:
            table = self.constraints(feature)
            self.check_sharding(f"embedding.tables.{feature}", table.sharding, table.min_partition)

    def constraints(self, feature: str) -> TableConstraints:
        """What holds for the table of `feature`."""
        own = self.tables.get(feature, TableConstraints())
        replicated: tuple[Sharding, ...] = ("data_parallel",) if self.over_whole_tables else ()
        return TableConstraints(
            own.sharding or self.sharding or replicated, own.kernels or self.kernels, own.min_partition or self.min_partition
        )

    @property
    def over_whole_tables(self) -> bool:
        """Whether the optimizer goes over all rows in every step."""
        return self.optimizer in WHOLE_TABLES

    @property
    def decay_of_lookups(self) -> float:
        """The L2 penalty that reaches the tables through what is looked up; an optimizer over whole tables takes it itself."""
        return 0.0 if self.over_whole_tables else self.weight_decay

    def _check_optimizer(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            why = " (this one works on GPUs only and would leave a CPU job hanging)" if self.optimizer in _GPU_ONLY else ""
            raise ValueError(f"embedding.optimizer = {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}{why}")

    def check_sharding(self, where: str, sharding: tuple[Sharding, ...], min_partition: int) -> None:
        """Raise ValueError for ways of sharding that this optimizer cannot do, or under which the model would depend on the plan."""
        if min_partition < 0 or min_partition % 4 or (min_partition and self.dim % min_partition):
            text = f"must be 0 (whole rows), or a multiple of 4 that divides embedding.dim = {self.dim}"
            raise ValueError(f"{where}.min_partition = {min_partition}: {text}")
        if self.over_whole_tables and set(sharding) - {"data_parallel"}:
            text = f"{self.optimizer} goes over whole tables, which are then on every rank; leave sharding empty, or use rowwise_adagrad"
            raise ValueError(f"{where}.sharding = {list(sharding)}: {text}")
        splits = [kind for kind in sharding if kind in _SPLITS_COLUMNS]
        if splits and (min_partition or self.dim) < self.dim and self.optimizer == "rowwise_adagrad":
            # Each piece of a row would keep a sum of its own, and the model would depend on the plan.
            text = "rowwise_adagrad keeps one sum a row, which a row cut into pieces cannot share; use optimizer = 'adagrad', or row_wise"
            raise ValueError(f"{where}.sharding = {list(sharding)} with min_partition below embedding.dim: {text}")
