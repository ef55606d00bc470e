"""Rows of levels to lines of TSV: the inner loop of the synthetic source, compiled. Importing this loads numba."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

TAB, NEWLINE, ZERO = 9, 10, 48


class LevelFormatter:
    """Writes `label \\t cell \\t cell ...` lines; a cell's text is looked up by column and level."""

    def __init__(self, texts: Sequence[Sequence[bytes]]) -> None:
        flat = [text for column in texts for text in column]
        self._bytes = np.frombuffer(b"".join(flat), np.uint8)
        self._ends = np.cumsum(np.array([0] + [len(text) for text in flat], np.int64))
        self._first = np.cumsum(np.array([0] + [len(column) for column in texts[:-1]], np.int64))
        self._widest = 2 + sum(max(map(len, column)) + 1 for column in texts)

    def lines(self, label: NDArray[np.bool_], levels: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The lines of R rows as bytes; label [R], levels [columns, R]."""
        out = np.empty(len(label) * self._widest, np.uint8)
        size = _format(label, levels, self._bytes, self._ends, self._first, out)
        return out[:size]


@njit(cache=True)
def _format(label, levels, text, ends, first, out):  # type: ignore[no-untyped-def]
    position = 0
    for row in range(label.shape[0]):
        out[position] = ZERO + label[row]
        position += 1
        for column in range(levels.shape[0]):
            out[position] = TAB
            position += 1
            cell = first[column] + levels[column, row]
            for source in range(ends[cell], ends[cell + 1]):
                out[position] = text[source]
                position += 1
        out[position] = NEWLINE
        position += 1
    return position
