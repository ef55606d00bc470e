"""A sharding plan as data: which rank holds which part of which table, on what kernel, and what that takes in memory.

No torch here: a plan is a file beside the run (`plan.json`) that people read, edit and give to another run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, get_args

from data_prep.atomic import write_json
from data_prep.typed_toml import typed
from data_prep.wording import counted
from embeddings.config import Kernel, Sharding
from embeddings.errors import TableError

FORMAT_VERSION = 1
REPLICATED, UNFUSED = "data_parallel", "dense"
"""The tables that every rank has whole are looked up by a kernel with no optimizer fused into it, and only they are."""
ON_CPU = (UNFUSED, "fused")
_ACROSS_ALL_RANKS, WITHIN_A_HOST = ("row_wise",), ("table_row_wise", "grid_shard")


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
    sharding: Sharding
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
        fields = dict(raw)
        if (version := fields.pop("format_version")) != FORMAT_VERSION:
            raise ValueError(f"format_version {version}, this program reads {FORMAT_VERSION}")
        return typed(fields, Plan, "a plan", ValueError)

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
            why = error if isinstance(error, ValueError) else repr(error)
            raise TableError(f"{path} holds no sharding plan ({why}); `recsys-nas plan` writes one") from error
        return plan

    def check(self, tables: Mapping[str, tuple[int, int]], world_size: int, ranks_per_host: int, where: str) -> None:
        """Raise TableError unless this plan is for `tables` (rows and dim by name) over these ranks and hosts, and covers each table in
        a way that its kind of sharding can look up."""
        if self.world_size != world_size:
            job = counted(world_size, "rank")
            raise TableError(f"{where} is for {counted(self.world_size, 'rank')} and the job has {job}; plan again for {job}")
        planned = {table.name: table for table in self.tables}
        if len(planned) < len(self.tables):
            raise TableError(f"{where} names a table twice; plan again")
        if missing := sorted(set(tables) - set(planned)):
            raise TableError(f"{where} is for other tables: it does not name {missing[0]}; plan again from this config")
        if extra := sorted(set(planned) - set(tables)):
            raise TableError(f"{where} is for other tables: the model has no {extra[0]}; plan again from this config")
        for name, (rows, dim) in tables.items():
            table = planned[name]
            if (table.rows, table.dim) != (rows, dim):
                size = f"{name} with {table.rows} rows x {table.dim}, the model has {rows} x {dim}"
                raise TableError(f"{where} is for other tables: {size}; plan again from this config")
            _check_kernel(table, where)
            _check_cover(table, world_size, where)
            _check_pieces(table, where)
            if table.sharding in WITHIN_A_HOST and self.ranks_per_host != ranks_per_host:
                hosts = f"for hosts of {counted(self.ranks_per_host, 'rank')} and the job's have {ranks_per_host}"
                raise TableError(f"{where}: {table.name} is {table.sharding}, {hosts}; plan again")
            if table.sharding in _ACROSS_ALL_RANKS + WITHIN_A_HOST:
                _check_row_blocks(table, world_size if table.sharding in _ACROSS_ALL_RANKS else ranks_per_host, where)


def _check_cover(table: TablePlan, world_size: int, where: str) -> None:
    """The shards of a table cover it once (a data-parallel one: once on each rank) and lie on ranks that are there."""
    for shard in table.shards:
        inside = 0 <= shard.row <= shard.row + shard.rows <= table.rows and 0 <= shard.column <= shard.column + shard.columns <= table.dim
        if not 0 <= shard.rank < world_size or not inside:
            raise TableError(
                f"{where}: {table.name} has a shard at {shard.row}, {shard.column} on rank {shard.rank} that cannot be; plan again"
            )
    copies = world_size if table.sharding == REPLICATED else 1
    overlap = copies == 1 and any(_overlap(one, other) for one, other in combinations(table.shards, 2))
    if overlap or sum(shard.rows * shard.columns for shard in table.shards) != copies * table.rows * table.dim:
        raise TableError(f"{where}: the shards of {table.name} do not cover it once; plan again")


def _overlap(one: TableShard, other: TableShard) -> bool:
    rows = min(one.row + one.rows, other.row + other.rows) - max(one.row, other.row)
    columns = min(one.column + one.columns, other.column + other.columns) - max(one.column, other.column)
    return rows > 0 and columns > 0


def _check_kernel(table: TablePlan, where: str) -> None:
    known = (UNFUSED,) if table.sharding == REPLICATED else get_args(Kernel)
    if table.kernel not in known:
        raise TableError(f"{where}: kernel {table.kernel!r} of {table.name}, which is {table.sharding}: must be {', '.join(known)}")


def _check_pieces(table: TablePlan, where: str) -> None:
    """TorchRec goes by a shard's place in the list, and expects pieces of the shape that a kind of sharding makes."""
    whole_rows = all(shard.columns == table.dim for shard in table.shards)
    whole_columns = all(shard.rows == table.rows for shard in table.shards)
    fits = {"table_wise": len(table.shards) == 1, "column_wise": whole_columns, "row_wise": whole_rows, "table_row_wise": whole_rows}
    if not fits.get(table.sharding, True):
        raise TableError(f"{where}: {table.name} is {table.sharding}, and is not cut so; plan again")
    in_order = sorted(table.shards, key=lambda shard: (shard.column, shard.row))
    if list(table.shards) != in_order and table.sharding != REPLICATED:
        raise TableError(f"{where}: the shards of {table.name} must stand in order of columns and rows; plan again")


def _check_row_blocks(table: TablePlan, ranks: int, where: str) -> None:
    """TorchRec finds a row by dividing its number by the size of a block: ranks in order have equal blocks, the last ones what is left."""
    block = -(-table.rows // ranks)
    for _, shards in groupby(table.shards, key=lambda shard: shard.column):
        found = [(shard.rank, shard.row, shard.rows) for shard in shards]
        first = found[0][0] - found[0][0] % ranks
        starts = [min(number * block, table.rows) for number in range(ranks)]
        wanted = [(first + number, row, min(block, table.rows - row)) for number, row in enumerate(starts)]
        if found != wanted:
            raise TableError(f"{where}: the rows of {table.name} must be cut into blocks of {block}, one a rank in order; plan again")
