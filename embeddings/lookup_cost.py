"""What the sparse half costs to serve: operations of pooling and bytes read, per example, from the schema alone."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.schema import Schema

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class LookupCost:
    """Per example: rows read from tables, pooling operations (one addition per element read), and bytes read."""

    rows: float
    flops: int
    bytes: int


def lookup_cost(schema: Schema, dim: int, element_bytes: int = FLOAT32_BYTES) -> LookupCost:
    """Cost of looking up every sparse feature of `schema` in tables of width `dim`; each feature reads one row."""
    rows = len(schema.sparse)
    return LookupCost(rows=float(rows), flops=rows * dim, bytes=rows * dim * element_bytes)
