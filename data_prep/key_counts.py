"""How often each key occurs in a column, for any number of keys in little memory: sorted runs on disk, merged as streams.

A *tally* is a file of rows (key, count), two uint64 each, by rising key and each key once. Tallies of the same column add up to
one whatever their order, so days are counted apart, in any number of processes, and merged in the end.

Memory: KEYS_AT_ONCE keys of 8 bytes while counting, with a sorted copy of one column's, and ENTRIES_AT_ONCE entries of 16 bytes
a few times over while merging: about 300 MB, whatever the number of distinct keys. A day of Criteo 1TB has some 20 million keys in its
largest columns, so its tallies take a few GB of disk, and the runs they are merged from a few times that for a while.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.in_turn import in_turn

KEYS_AT_ONCE = 1 << 24
ENTRIES_AT_ONCE = 1 << 20

Tally = NDArray[np.uint64]
"""uint64 [N, 2]: key and count, by rising key."""


class KeyCounter:
    """Counts the keys of some columns; `close` leaves a tally in `folder` for each of their `names`. Columns are sorted and
    merged by `threads` at once."""

    def __init__(self, folder: Path, names: Sequence[str], threads: int = 1) -> None:
        self._folder = folder
        self._threads = threads
        self._names = names
        self._keys: list[list[NDArray[np.uint64]]] = [[] for _ in names]
        self._held = 0
        self._runs: list[Path] = []

    def add(self, keys: Sequence[NDArray[np.uint64]]) -> None:
        """Count the keys, one array a column."""
        for held, more in zip(self._keys, keys, strict=True):
            held.append(more)
            self._held += len(more)
        if self._held >= KEYS_AT_ONCE:
            self._write_run()

    def close(self) -> None:
        self._write_run()
        self._for_each(self._merge_runs, self._names)
        for run in self._runs:
            shutil.rmtree(run)

    def _write_run(self) -> None:
        run = self._folder / f"run-{len(self._runs):05d}"
        run.mkdir()
        self._for_each(partial(_sort_run, run), zip(self._names, self._keys, strict=True))
        self._held = 0
        self._runs.append(run)

    def _merge_runs(self, name: str) -> None:
        runs = [open_tally(run / name) for run in self._runs]
        write_tally(self._folder / name, merged(runs))
        _flush(self._folder / name)

    def _for_each(self, work: Callable[[Any], None], columns: Iterable[Any]) -> None:
        in_turn(columns, work, lambda _: None, self._threads)


def _sort_run(run: Path, column: tuple[str, list[NDArray[np.uint64]]]) -> None:
    name, held = column
    keys = np.sort(np.concatenate(held)) if held else np.empty(0, np.uint64)
    held.clear()
    write_tally(run / name, [_summed(keys, np.ones(len(keys), np.uint64))])


def merged(tallies: Sequence[Tally], entries: int = ENTRIES_AT_ONCE) -> Iterator[Tally]:
    """The sum of the tallies, as tallies one after the other by rising key, each of about `entries` entries at most.

    All keys up to the least among the last keys of the windows are within the windows, so those can be summed and passed on.
    """
    at = [0] * len(tallies)
    window = max(1, entries // max(1, len(tallies)))
    while unfinished := [index for index, tally in enumerate(tallies) if at[index] < len(tally)]:
        windows = [tallies[index][at[index] : at[index] + window] for index in unfinished]
        last = min(entry[-1, 0] for entry in windows)
        taken = [entry[: int(np.searchsorted(entry[:, 0], last, side="right"))] for entry in windows]
        for index, entry in zip(unfinished, taken, strict=True):
            at[index] += len(entry)
        together = np.concatenate(taken)
        order = np.argsort(together[:, 0], kind="stable")
        yield _summed(together[order, 0], together[order, 1])


def open_tally(path: Path) -> Tally:
    """Map a tally; one without entries has no bytes to map."""
    if path.stat().st_size == 0:
        return np.empty((0, 2), np.uint64)
    return np.memmap(path, np.uint64, "r").reshape(-1, 2)


def write_tally(path: Path, pieces: Iterable[Tally]) -> None:
    """Write the pieces one after the other."""
    with path.open("xb") as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _summed(keys: NDArray[np.uint64], counts: NDArray[np.uint64]) -> Tally:
    """A tally of rising keys that may occur several times."""
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), np.bool_), keys[1:] != keys[:-1]]))
    tally = np.empty((len(starts), 2), np.uint64)
    tally[:, 0] = keys[starts]
    tally[:, 1] = np.add.reduceat(counts, starts) if len(starts) else 0
    return tally
