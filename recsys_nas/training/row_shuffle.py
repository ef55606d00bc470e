"""Rows of days in memory, in an order of their own for every epoch: for data sets that are small enough, and trained on many times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_prep.shards import Jagged, Part


class ShuffledRows:
    """All rows of `parts` in memory; `epoch(n)` gives them in the order drawn from `seed` and n.

    `spans`: ranges of rows that do not overlap, each shuffled within itself; rows outside of them stay where they are.
    """

    def __init__(self, parts: Sequence[Part], seed: int, spans: Sequence[tuple[int, int]]) -> None:
        self._rows = _joined(parts)
        self._seed = seed
        self._spans = spans
        # Batches of an epoch are slices of one copy; two, since held-out rows are in an epoch of their own.
        self.epoch = lru_cache(2)(self._drawn)

    def _drawn(self, number: int) -> Part:
        generator = np.random.Generator(np.random.Philox([self._seed, number]))
        order = np.arange(self._rows.rows)
        for start, end in self._spans:
            order[start:end] = start + generator.permutation(end - start)
        return _taken(self._rows, order)


def _joined(parts: Sequence[Part]) -> Part:
    dense, sparse, label = (np.concatenate([getattr(part, name) for part in parts]) for name in ("dense", "sparse", "label"))
    return Part(dense, sparse, label, {name: _joined_lists([part.jagged[name] for part in parts]) for name in parts[0].jagged})


def _joined_lists(lists: Sequence[Jagged]) -> Jagged:
    lengths = np.concatenate([np.diff(each.offsets) for each in lists])
    return Jagged(np.concatenate([each.values[: each.offsets[-1]] for each in lists]), _ends(lengths))


def _taken(part: Part, rows: NDArray[np.int64]) -> Part:
    return Part(part.dense[rows], part.sparse[rows], part.label[rows], {name: _taken_lists(j, rows) for name, j in part.jagged.items()})


def _taken_lists(lists: Jagged, rows: NDArray[np.int64]) -> Jagged:
    offsets = _ends(np.diff(lists.offsets)[rows])
    # Each new place takes the value as far from the start of its list as it is itself.
    places = np.arange(offsets[-1]) + np.repeat(lists.offsets[rows] - offsets[:-1], np.diff(offsets))
    return Jagged(lists.values[places], offsets)


def _ends(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
