"""What shards hold, for a person to look at: schema, days, missing and distinct values by column, the first rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.shards import DayEntry, Manifest, open_manifest, open_part

FIRST_ROWS = 3
ROWS_A_STEP = 1 << 18


def summarise(root: Path, day: int | None) -> Iterator[str]:
    """Lines to print. Columns and rows are those of `day`, the first one when it is None.

    Raises DataError when there are no shards, or not that day.
    """
    manifest = open_manifest(root)
    chosen = manifest.day(manifest.days[0].day if day is None else day)
    schema = manifest.schema
    yield f"{root}: {len(schema.dense)} dense and {len(schema.sparse)} sparse columns"
    yield ", ".join(f"{key} {value}" for key, value in manifest.parameters.items())
    yield ""
    yield from _table(("day", "rows", "clicks", "parts", "bad rows"), [_day_cells(entry) for entry in manifest.days])
    yield ""
    yield f"day {chosen.day}, by column (after the transform a missing integer is a zero):"
    yield from _table(("column", "missing", "distinct", "num_embeddings"), _sparse_cells(root, manifest, chosen))
    yield from _table(("column", "zero or missing", "mean", "max"), _dense_cells(root, manifest, chosen))
    yield ""
    yield from _first_rows(root, chosen)


def _day_cells(day: DayEntry) -> tuple[str, ...]:
    return (str(day.day), f"{day.rows:,}", f"{100 * day.positives / day.rows:.2f} %", str(len(day.parts)), f"{day.bad_rows:,}")


def _sparse_cells(root: Path, manifest: Manifest, day: DayEntry) -> list[tuple[str, ...]]:
    features = manifest.schema.sparse
    seen = [np.zeros(feature.num_embeddings, np.bool_) for feature in features]
    missing = np.zeros(len(features), np.int64)
    for rows in _steps(root, day, "sparse"):
        missing += (rows == 0).sum(axis=0)
        for column, flags in enumerate(seen):
            flags[rows[:, column]] = True
    return [
        (feature.name, f"{100 * gaps / day.rows:.1f} %", f"{int(flags[1:].sum()):,}", f"{feature.num_embeddings:,}")
        for feature, gaps, flags in zip(features, missing, seen, strict=True)
    ]


def _dense_cells(root: Path, manifest: Manifest, day: DayEntry) -> list[tuple[str, ...]]:
    names = manifest.schema.dense
    zeros, total, highest = np.zeros(len(names), np.int64), np.zeros(len(names)), np.zeros(len(names))
    for rows in _steps(root, day, "dense"):
        zeros += (rows == 0).sum(axis=0)
        total += rows.sum(axis=0, dtype=np.float64)
        highest = np.maximum(highest, rows.max(axis=0))
    return [
        (name, f"{100 * zero / day.rows:.1f} %", f"{sum_ / day.rows:.2f}", f"{high:.2f}")
        for name, zero, sum_, high in zip(names, zeros, total, highest, strict=True)
    ]


def _steps(root: Path, day: DayEntry, name: str) -> Iterator[NDArray[np.generic]]:
    """The array `name` of a day, [R, columns] at a time."""
    for entry in day.parts:
        array = getattr(open_part(root, entry), name)
        for first in range(0, len(array), ROWS_A_STEP):
            yield array[first : first + ROWS_A_STEP]


def _first_rows(root: Path, day: DayEntry) -> Iterator[str]:
    part = open_part(root, day.parts[0]).head(FIRST_ROWS)
    yield "first rows (label | dense | sparse):"
    for label, dense, sparse in zip(part.label[:, 0], part.dense, part.sparse, strict=True):
        yield f"{label} | {' '.join(f'{value:.2f}' for value in dense)} | {' '.join(str(value) for value in sparse)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for cells in (head, *rows):
        yield "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
