"""What the sparse half costs to serve and to hold: operations and bytes of looking one example up, and the memory of each table.

No torch here: costs follow from the schema, the widths and the element type alone, and the report reads them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from data_prep.schema import JaggedFeature, Schema
from data_prep.shards import Manifest, open_part

ElementType = Literal["float32", "float16", "int8", "int4"]

_BITS: dict[ElementType, int] = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
# fbgemm keeps a float16 scale and a float16 offset with each quantised row (FloatToFusedNBitRowwiseQuantizedSBHalf).
_SCALE_AND_OFFSET_BYTES = 4
# The trainer and the server hand over int32 ids and int32 offsets.
_INDEX_BYTES = 4
_STATE_BYTES = 4


@dataclass(frozen=True)
class LookupCost:
    """Of one example on average.

    `rows`: rows read from tables. `flops`: one addition per element read, and a multiply-add (2) more where it must be turned
    back from an integer. `bytes`: table rows read, scales and offsets included. `index_bytes`: ids and list ends read beside them.
    """

    rows: float
    flops: int
    bytes: int
    index_bytes: int


@dataclass(frozen=True)
class TableMemory:
    """Bytes that one table takes: its rows, and the state of its fused optimizer."""

    feature: str
    rows: int
    row_bytes: int
    weight_bytes: int
    optimizer_bytes: int

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.optimizer_bytes


def row_bytes(dim: int, dtype: ElementType = "float32") -> int:
    """Bytes of one row of `dim` elements as fbgemm stores it on a CPU, without padding. Raises ValueError for an unknown `dtype`."""
    if dtype not in _BITS:
        raise ValueError(f"dtype = {dtype!r}: tables are stored as one of {', '.join(get_args(ElementType))}")
    quantised = dtype in ("int8", "int4")
    return -(-dim * _BITS[dtype] // 8) + _SCALE_AND_OFFSET_BYTES * quantised


def lookup_cost(schema: Schema, dim: int, dtype: ElementType = "float32", lengths: Mapping[str, float] | None = None) -> LookupCost:
    """Cost of looking every feature of `schema` up in tables of `dim` columns.

    A sparse feature reads one row. A jagged one reads as many as its lists hold on average: `lengths`, by feature, as
    `mean_lengths` measures them; the schema's maximum for a feature that is not in it.
    """
    lengths = lengths or {}
    rows = sum(lengths.get(f.name, f.max_length) if isinstance(f, JaggedFeature) else 1 for f in schema.categorical)
    flops_per_element = 3 if dtype in ("int8", "int4") else 1
    return LookupCost(
        rows=float(rows),
        flops=round(rows * dim * flops_per_element),
        bytes=round(rows * row_bytes(dim, dtype)),
        index_bytes=round((rows + len(schema.categorical)) * _INDEX_BYTES),
    )


def mean_lengths(root: Path, manifest: Manifest) -> dict[str, float]:
    """Mean length of the lists of each jagged feature over all days of the shards in `root`; reads the list ends only."""
    parts = [part for day in manifest.days for part in day.parts]
    total, ids = sum(part.rows for part in parts), {feature.name: 0 for feature in manifest.schema.jagged}
    for part in parts if ids else ():
        for name, lists in open_part(root, part).jagged.items():
            ids[name] += int(lists.offsets[-1])
    return {name: count / total for name, count in ids.items()}


def table_memory(
    rows: Mapping[str, int], dim: int, dtype: ElementType = "float32", optimizer: str | None = None
) -> tuple[TableMemory, ...]:
    """Memory of each table of `rows` (by feature) and `dim` columns; `optimizer` as in EmbeddingConfig, None when serving.

    Row-wise Adagrad keeps 4 bytes a row, Adagrad 4 bytes an element, SGD nothing. Raises ValueError for another optimizer.
    """
    state = {None: 0, "sgd": 0, "rowwise_adagrad": _STATE_BYTES, "adagrad": _STATE_BYTES * dim}
    if optimizer not in state:
        raise ValueError(f"optimizer = {optimizer!r}: its memory is known for {', '.join(filter(None, state))}")
    size = row_bytes(dim, dtype)
    return tuple(TableMemory(feature, count, size, count * size, count * state[optimizer]) for feature, count in rows.items())
