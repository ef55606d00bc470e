"""How much the columns change from day to day, on an even sample of each day's rows, so that any number of rows takes seconds.

- ids: the Jensen-Shannon distance of two days' shares p and q of the ids, sqrt(H(m) - H(p)/2 - H(q)/2) with m = (p + q)/2 and
  the entropy H in bits: 0 for equal shares, 1 for no id in common (Lin 1991; its root is a metric, Endres and Schindelin
  2003). Ids are counted in CELLS hashed cells, which can only make it smaller. Above 0.1 is large, as in Evidently.
- dense: the population stability index, sum of (q - p) ln(q / p) over the tenths of the earlier day. By custom of credit scoring,
  where it comes from, above 0.25 is a large shift and below 0.1 none (Siddiqi, Credit Risk Scorecards, 2006).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.schema import Schema
from data_prep.shards import DayEntry, Manifest, Part, open_part

SAMPLE_ROWS, BLOCK_ROWS = 1 << 18, 1 << 12
CELLS_BITS = 9
CELLS = 1 << CELLS_BITS
TENTHS = np.linspace(0.1, 0.9, 9)
LARGE_DISTANCE, LARGE_INDEX = 0.1, 0.25


@dataclass(frozen=True)
class ColumnDrift:
    """One column: its distance from each day to the next, and from the first day to the last. `limit`: what counts as large."""

    name: str
    measure: str
    to_next: tuple[float, ...]
    first_to_last: float
    limit: float

    @property
    def large(self) -> bool:
        return max(*self.to_next, self.first_to_last) > self.limit


@dataclass(frozen=True)
class _Sample:
    """What is kept of a day: counts of ids [categorical columns, CELLS], dense values [rows, dense columns]."""

    cells: NDArray[np.int64]
    dense: NDArray[np.float32]


def drift(root: Path, manifest: Manifest) -> list[ColumnDrift]:
    """Every column of the shards, categorical ones first; empty when there are fewer than two days.

    Holds three days' samples at a time. Raises DataError when a part cannot be read.
    """
    if len(manifest.days) < 2:
        return []
    schema = manifest.schema
    first = last = _sample(root, manifest.days[0], schema)
    steps = []
    for day in manifest.days[1:]:
        before, last = last, _sample(root, day, schema)
        steps.append((_distances(before.cells, last.cells), _indices(before.dense, last.dense)))
    ends = _distances(first.cells, last.cells), _indices(first.dense, last.dense)
    kinds = (([f.name for f in schema.categorical], "JS distance", LARGE_DISTANCE), (list(schema.dense), "PSI", LARGE_INDEX))
    return [
        ColumnDrift(name, measure, tuple(float(step[kind][column]) for step in steps), float(ends[kind][column]), limit)
        for kind, (names, measure, limit) in enumerate(kinds)
        for column, name in enumerate(names)
    ]


def sampled(root: Path, day: DayEntry) -> Iterator[tuple[Part, int, int]]:
    """About SAMPLE_ROWS rows, in blocks that lie evenly over the day: rows of a part, from the first number to before the second."""
    blocks = -(-day.rows // BLOCK_ROWS)
    every = max(1, blocks // (SAMPLE_ROWS // BLOCK_ROWS))
    rows_before = 0
    for entry in day.parts:
        part = open_part(root, entry)
        # Blocks are those of the part, chosen by their place in the day.
        for first in range(0, entry.rows, BLOCK_ROWS):
            if (rows_before + first) // BLOCK_ROWS % every == 0:
                yield part, first, min(first + BLOCK_ROWS, entry.rows)
        rows_before += entry.rows


def _sample(root: Path, day: DayEntry, schema: Schema) -> _Sample:
    cells = np.zeros((len(schema.categorical), CELLS), np.int64)
    dense = []
    for part, first, end in sampled(root, day):
        dense.append(np.array(part.dense[first:end]))
        ids = [part.sparse[first:end, column] for column in range(len(schema.sparse))]
        for feature in schema.jagged:
            lists = part.jagged[feature.name]
            ids.append(lists.values[lists.offsets[first] : lists.offsets[end]])
        for column, values in enumerate(ids):
            cells[column] += np.bincount(_cell(values), minlength=CELLS)
    return _Sample(cells, np.concatenate(dense))


def _cell(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Multiplicative hashing (Knuth, vol. 3, 6.4), so that neighbouring ids part."""
    return ((ids.astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(32 - CELLS_BITS)).astype(np.int64)


def _distances(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.float64]:
    """Jensen-Shannon distance of each column, [columns]; 0 where a day has no id at all, so that there is nothing to compare."""
    p, q = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) for counts in (before, after))
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    seen = (before.sum(axis=1) > 0) & (after.sum(axis=1) > 0)
    return np.sqrt(np.where(seen, np.clip(divergence, 0, 1), 0))


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """In bits, of each row."""
    total: NDArray[np.float64] = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)
    return total


def _indices(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """Population stability index of each dense column, [columns]."""
    return np.array([_index(before[:, column], after[:, column]) for column in range(before.shape[1])])


def _index(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Equal tenths, as with many zeros, are one bin. Half a row is added to each bin, so that none is empty."""
    edges = np.unique(np.quantile(before, TENTHS, method="lower"))
    p, q = (np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) + 0.5 for values in (before, after))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())
