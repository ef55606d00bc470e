"""Uniform draws to levels by inversion: `searchsorted` with a table of first guesses, compiled. Importing this loads numba."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


class LevelSampler:
    """Finds, for draws u in [0, 1), the level whose share of [0, 1) holds u: the first with u < its upper end."""

    def __init__(self, ends: NDArray[np.float64]) -> None:
        """`ends` [n] are the upper ends of the shares, ascending, the last one 1."""
        self._ends = ends
        slots = 1 << max(6, (len(ends) - 1).bit_length())
        self._guess = ends.searchsorted(np.arange(slots) / slots, side="right").astype(np.int32)

    def fill(self, uniform: NDArray[np.float64], levels: NDArray[np.int32]) -> None:
        """Write the level of each draw; uniform [R], levels [R]."""
        _fill(uniform, self._ends, self._guess, levels)


@njit(cache=True)
def _fill(uniform, ends, guess, levels):  # type: ignore[no-untyped-def]
    slots = guess.shape[0]
    for row in range(uniform.shape[0]):
        level = guess[int(uniform[row] * slots)]  # exact: the number of slots is a power of two
        while uniform[row] >= ends[level]:
            level += 1
        levels[row] = level
