"""What shards hold, for a person to look at: schema, days, missing and distinct values by column, the first rows, drift between days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.drift import SAMPLE_ROWS, ColumnDrift, drift
from data_prep.errors import DataError
from data_prep.shards import DayEntry, Manifest, open_manifest, open_part

FIRST_ROWS = 3
ROWS_A_STEP = 1 << 18
MAX_FLAGS = 1 << 28
"""Ids whose presence is noted at a time, a byte each."""
LARGE_CLICK_RATE_CHANGE = 0.1


def summarise(root: Path, day: int | None) -> Iterator[str]:
    """Lines to print. Columns and rows are those of `day`, the first one when it is None.

    Raises DataError when there are no shards, or not that day.
    """
    manifest = open_manifest(root)
    if not manifest.days:
        raise DataError(f"{root} holds no day")
    chosen = manifest.day(manifest.days[0].day if day is None else day)
    schema = manifest.schema
    jagged = f", {len(schema.jagged)} jagged" if schema.jagged else ""
    yield f"{root}: {len(schema.dense)} dense and {len(schema.sparse)} sparse columns{jagged}"
    yield ", ".join(f"{key} {value}" for key, value in manifest.parameters.items())
    yield ""
    yield from _table(("day", "rows", "clicks", "parts", "bad rows"), [_day_cells(entry) for entry in manifest.days])
    yield ""
    yield f"day {chosen.day}, by column (after the transform a missing integer is a zero):"
    yield from _table(("column", "missing", "distinct", "num_embeddings"), _sparse_cells(root, manifest, chosen))
    if schema.jagged:
        yield from _table(("column", "empty", "distinct", "num_embeddings", "mean length"), _jagged_cells(root, manifest, chosen))
    yield from _table(("column", "zero or missing", "mean", "max"), _dense_cells(root, manifest, chosen))
    yield ""
    yield from _first_rows(root, chosen)
    yield ""
    yield from _drift(root, manifest)


def _day_cells(day: DayEntry) -> tuple[str, ...]:
    return (str(day.day), f"{day.rows:,}", f"{100 * day.positives / day.rows:.2f} %", str(len(day.parts)), f"{day.bad_rows:,}")


def _sparse_cells(root: Path, manifest: Manifest, day: DayEntry) -> list[tuple[str, ...]]:
    """Column by column, as many at a time as the memory for their ids allows."""
    cells: list[tuple[str, ...]] = []
    for columns in _groups([feature.num_embeddings for feature in manifest.schema.sparse]):
        features = manifest.schema.sparse[columns]
        seen = [np.zeros(feature.num_embeddings, np.bool_) for feature in features]
        missing = np.zeros(len(features), np.int64)
        for rows in _steps(root, day, "sparse"):
            missing += (rows[:, columns] == 0).sum(axis=0)
            for column, flags in enumerate(seen):
                flags[rows[:, columns][:, column]] = True
        cells += [
            (feature.name, f"{100 * gaps / day.rows:.1f} %", f"{int(flags[1:].sum()):,}", f"{feature.num_embeddings:,}")
            for feature, gaps, flags in zip(features, missing, seen, strict=True)
        ]
    return cells


def _groups(sizes: Sequence[int]) -> Iterator[slice]:
    """Runs of columns whose sizes add up to no more than MAX_FLAGS, or of one column."""
    first = total = 0
    for column, size in enumerate(sizes):
        if total and total + size > MAX_FLAGS:
            yield slice(first, column)
            first, total = column, 0
        total += size
    if sizes:
        yield slice(first, len(sizes))


def _jagged_cells(root: Path, manifest: Manifest, day: DayEntry) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for feature in manifest.schema.jagged:
        seen, empty, ids = np.zeros(feature.num_embeddings, np.bool_), 0, 0
        for entry in day.parts:
            lists = open_part(root, entry).jagged[feature.name]
            empty += int((np.diff(lists.offsets) == 0).sum())
            ids += len(lists.values)
            for first in range(0, len(lists.values), ROWS_A_STEP):
                seen[lists.values[first : first + ROWS_A_STEP]] = True
        shares = f"{100 * empty / day.rows:.1f} %", f"{int(seen[1:].sum()):,}"
        cells.append((feature.name, *shares, f"{feature.num_embeddings:,}", f"{ids / day.rows:.2f}"))
    return cells


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
    part = open_part(root, day.parts[0]).cut(0, FIRST_ROWS)
    yield "first rows (label | dense | sparse):"
    for label, dense, sparse in zip(part.label[:, 0], part.dense, part.sparse, strict=True):
        yield f"{label} | {' '.join(f'{value:.2f}' for value in dense)} | {' '.join(str(value) for value in sparse)}"


def _drift(root: Path, manifest: Manifest) -> Iterator[str]:
    """Click rates and columns that moved, and the whole table of distances."""
    columns = drift(root, manifest)
    if not columns:
        yield "drift: there is one day only, nothing to compare"
        return
    days = [day.day for day in manifest.days]
    yield f"drift, on about {SAMPLE_ROWS:,} rows a day (formulas: data_prep/drift.py); `!` marks what is large:"
    yield f"click rate from day to day: {', '.join(_click_rate_changes(manifest.days))}"
    yield from _table(("column", "measure", "largest to next day", "days", "first to last", ""), [_drift_cells(c, days) for c in columns])


def _click_rate_changes(days: Sequence[DayEntry]) -> Iterator[str]:
    rates = [day.positives / day.rows for day in days]
    for number, (before, after) in enumerate(pairwise(rates)):
        change = after / before - 1 if before else 0.0
        mark = " !" if abs(change) > LARGE_CLICK_RATE_CHANGE else ""
        yield f"{days[number].day}-{days[number + 1].day} {100 * change:+.1f} %{mark}"


def _drift_cells(column: ColumnDrift, days: Sequence[int]) -> tuple[str, ...]:
    step = int(np.argmax(column.to_next))
    pair, mark = f"{days[step]}-{days[step + 1]}", "!" if column.large else ""
    return column.name, column.measure, f"{column.to_next[step]:.3f}", pair, f"{column.first_to_last:.3f}", mark


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for cells in (head, *rows):
        yield "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
