"""A sharding plan for people: one line a table, one line a rank."""

from __future__ import annotations

from collections.abc import Sequence

from data_prep.wording import counted
from embeddings.plan import Memory, Plan, TablePlan

_MAX_RANKS_SHOWN = 16


def plan_text(plan: Plan) -> str:
    """The plan as two aligned tables: what becomes of each table, and what each rank has to hold."""
    hosts = -(-plan.world_size // plan.ranks_per_host)
    title = f"sharding plan for {counted(plan.world_size, 'rank')} ({plan.device}) on {counted(hosts, 'host')}"
    heading: tuple[str, ...] = ("table", "rows", "dim", "bytes", "sharding", "kernel", "ranks", "cost ms")
    tables = _aligned([heading, *(_table_cells(table) for table in plan.tables)], left=(0, 4, 5, 6))
    return "\n".join([title, "", *tables, "", *_rank_lines(plan)])


def human_bytes(count: int) -> str:
    """`1536` -> `1.5 KiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def _table_cells(table: TablePlan) -> tuple[str, ...]:
    ranks = table.ranks
    shown = ",".join(map(str, ranks)) if len(ranks) <= 4 else f"{ranks[0]},{ranks[1]},..,{ranks[-1]}"
    sizes = f"{table.rows:,}", str(table.dim), human_bytes(table.memory.weights + table.memory.optimizer)
    return (table.name, *sizes, table.sharding, table.kernel, shown, f"{table.cost_ms:.4f}")


def _rank_lines(plan: Plan) -> list[str]:
    by_rank = plan.memory_by_rank()
    rows: list[tuple[str, ...]] = [("rank", "weights", "optimizer", "buffers", "on the host", "on the device", "of")]
    rows += [_rank_cells(str(rank), memory, plan) for rank, memory in enumerate(by_rank[:_MAX_RANKS_SHOWN])]
    if len(by_rank) > _MAX_RANKS_SHOWN:
        rows.append(_rank_cells("largest", max(by_rank, key=lambda memory: memory.on_device), plan))
    return _aligned(rows, left=(0,))


def _rank_cells(name: str, memory: Memory, plan: Plan) -> tuple[str, ...]:
    parts = (memory.weights, memory.optimizer, memory.buffers, memory.host, memory.on_device, plan.capacity)
    return (name, *map(human_bytes, parts))


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    cells = [[cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))] for row in rows]
    return ["  ".join(row).rstrip() for row in cells]
