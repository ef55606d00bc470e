"""A sharding plan as data: which rank holds which part of which table, on what kernel, and what that takes in memory.

No torch here: a plan is a file beside the run (`plan.json`) that people read, edit and give to another run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json
from data_prep.wording import counted
from embeddings.errors import TableError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Memory:
    """Bytes of one shard, or of one rank: weights, optimizer state, and buffers for inputs and outputs as the planner estimates
    them. `host` of them lie in the host's memory while the rank computes on a GPU (kernels `fused_uvm...`)."""

    weights: int = 0
    optimizer: int = 0
    buffers: int = 0
    host: int = 0

    @property
    def on_device(self) -> int:
        return self.weights + self.optimizer + self.buffers - self.host

    def __add__(self, other: Memory) -> Memory:
        parts = (self.weights + other.weights, self.optimizer + other.optimizer, self.buffers + other.buffers, self.host + other.host)
        return Memory(*parts)


@dataclass(frozen=True)
class TableShard:
    """The rectangle of a table that starts at (`row`, `column`) and lies on `rank`; of a data-parallel table, the whole on each rank."""

    rank: int
    row: int
    column: int
    rows: int
    columns: int
    memory: Memory = Memory()


@dataclass(frozen=True)
class TablePlan:
    """How one table is sharded. `cost_ms`: the planner's estimate of its part of a step, summed over shards, in milliseconds."""

    name: str
    rows: int
    dim: int
    sharding: str
    kernel: str
    shards: tuple[TableShard, ...]
    cost_ms: float = 0.0

    @property
    def ranks(self) -> list[int]:
        return sorted({shard.rank for shard in self.shards})

    @property
    def memory(self) -> Memory:
        return sum((shard.memory for shard in self.shards), Memory())


@dataclass(frozen=True)
class Plan:
    """All tables of a model over `world_size` ranks, `ranks_per_host` of them to a host, which have `capacity` bytes each for tables."""

    world_size: int
    ranks_per_host: int
    device: str
    capacity: int
    tables: tuple[TablePlan, ...]

    def memory_by_rank(self) -> list[Memory]:
        by_rank = [Memory()] * self.world_size
        for table in self.tables:
            for shard in table.shards:
                by_rank[shard.rank] += shard.memory
        return by_rank

    def to_json(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION} | dataclasses.asdict(self)

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Plan:
        """Inverse of `to_json`; KeyError, TypeError or ValueError on anything else."""
        if raw["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {raw['format_version']}, this program reads {FORMAT_VERSION}")
        tables = tuple(_table(entry) for entry in raw["tables"])
        return Plan(int(raw["world_size"]), int(raw["ranks_per_host"]), str(raw["device"]), int(raw["capacity"]), tables)

    def write(self, path: Path) -> None:
        write_json(path, self.to_json())

    @staticmethod
    def read(path: Path) -> Plan:
        """Raises TableError naming the file when it is missing or holds no plan."""
        try:
            plan = Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise TableError(f"cannot read the plan {path}: {error.strerror}; `recsys-nas plan` writes one") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TableError(f"{path} holds no sharding plan ({error!r}); `recsys-nas plan` writes one") from error
        return plan

    def check(self, tables: Mapping[str, tuple[int, int]], world_size: int, where: str) -> None:
        """Raise TableError unless this plan is for `tables` (rows and dim by name) over `world_size` ranks and covers each of them."""
        if self.world_size != world_size:
            job = counted(world_size, "rank")
            raise TableError(f"{where} is for {counted(self.world_size, 'rank')} and the job has {job}; plan again for {job}")
        planned = {table.name: table for table in self.tables}
        if missing := sorted(set(tables) - set(planned)):
            raise TableError(f"{where} is for other tables: it does not name {missing[0]}; plan again from this config")
        if extra := sorted(set(planned) - set(tables)):
            raise TableError(f"{where} is for other tables: the model has no {extra[0]}; plan again from this config")
        for name, (rows, dim) in tables.items():
            table = planned[name]
            if (table.rows, table.dim) != (rows, dim):
                size = f"{name} with {table.rows} rows x {table.dim}, the model has {rows} x {dim}"
                raise TableError(f"{where} is for other tables: {size}; plan again from this config")
            _check_cover(table, world_size, where)


def _table(raw: Mapping[str, Any]) -> TablePlan:
    shards = tuple(TableShard(**(entry | {"memory": Memory(**entry["memory"])})) for entry in raw["shards"])
    return TablePlan(**(dict(raw) | {"shards": shards}))


def _check_cover(table: TablePlan, world_size: int, where: str) -> None:
    """The shards of a table cover it once (a data-parallel one: once on each rank) and lie on ranks that are there."""
    for shard in table.shards:
        inside = 0 <= shard.row <= shard.row + shard.rows <= table.rows and 0 <= shard.column <= shard.column + shard.columns <= table.dim
        if not 0 <= shard.rank < world_size or not inside:
            raise TableError(
                f"{where}: {table.name} has a shard at {shard.row}, {shard.column} on rank {shard.rank} that cannot be; plan again"
            )
    copies = world_size if table.sharding == "data_parallel" else 1
    if sum(shard.rows * shard.columns for shard in table.shards) != copies * table.rows * table.dim:
        raise TableError(f"{where}: the shards of {table.name} do not cover it; plan again")
