"""Keys to ids by a hash table that lies in a file, so that all processes of a machine share one copy. Importing this loads numba.

Open addressing with linear probes: `slots` uint64 [S, 2] holds (key, id), and id 0 marks a free slot, for no key ever has it.
S is 1.5 times the number of keys, which makes 24 bytes a key.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_prep.categorical import FIRST_VOCABULARY_ID, MISSING_ID, OUT_OF_VOCABULARY_ID

SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: multiplied by it, keys that follow each other fall far apart (Knuth, TAOCP vol. 3, 6.4)."""
HALF, ONE, ZERO = np.uint64(32), np.uint64(1), np.uint64(0)


def write_index(path: Path, keys: NDArray[np.uint64]) -> None:
    """Write the table that gives keys[i] the id i + 2; keys are distinct, fewer than 2^31. Raises OSError when the disk is full."""
    shape = (len(keys) * 3 // 2 + 1, 2)
    with path.open("xb") as file:  # room first: a disk that fills up under a mapped file kills the process
        os.posix_fallocate(file.fileno(), 0, 16 * shape[0])
    slots = np.memmap(path, np.uint64, "r+", shape=shape)
    _fill(slots, keys)
    slots.flush()


def open_index(path: Path) -> NDArray[np.uint64]:
    return np.memmap(path, np.uint64, "r").reshape(-1, 2)


def look_up(slots: NDArray[np.uint64], keys: NDArray[np.uint64], missing: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Ids int32 [R]: 0 where missing, 1 for keys that are not in the table."""
    ids = np.empty(len(keys), np.int32)
    _look_up(slots, keys, missing, ids)
    return ids


@njit(cache=True)
def _fill(slots, keys):  # type: ignore[no-untyped-def]
    size = np.uint64(slots.shape[0])
    for index in range(keys.shape[0]):
        slot = (((keys[index] * SPREAD) >> HALF) * size) >> HALF
        while slots[slot, 1] != ZERO:
            slot += ONE
            if slot == size:
                slot = ZERO
        slots[slot, 0] = keys[index]
        slots[slot, 1] = np.uint64(index + FIRST_VOCABULARY_ID)


@njit(cache=True, nogil=True)
def _look_up(slots, keys, missing, ids):  # type: ignore[no-untyped-def]
    size = np.uint64(slots.shape[0])
    for row in range(keys.shape[0]):
        if missing[row]:
            ids[row] = MISSING_ID
            continue
        slot = (((keys[row] * SPREAD) >> HALF) * size) >> HALF
        while slots[slot, 1] != ZERO and slots[slot, 0] != keys[row]:
            slot += ONE
            if slot == size:
                slot = ZERO
        ids[row] = slots[slot, 1] if slots[slot, 1] != ZERO else OUT_OF_VOCABULARY_ID
