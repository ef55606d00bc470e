"""Every promise of the manifest checked against the bytes on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.progress import Progress
from data_prep.schema import Schema
from data_prep.shards import DTYPES, DayEntry, Manifest, PartEntry, open_manifest, sha256_of

ROWS_A_CHECK = 1 << 18


def verify(root: Path) -> tuple[Manifest, list[str]]:
    """The manifest and every fault of the shards in `root`, one line each: files missing, altered or of a wrong shape or
    type, values out of range, counts that do not add up. Raises DataError when there is no manifest to check against.
    """
    manifest = open_manifest(root)
    total = sum(day.rows for day in manifest.days)
    faults: list[str] = []
    done = 0
    with Progress("verify", total) as progress:
        for day in manifest.days:
            faults += _day_faults(day)
            for part in day.parts:
                faults += _part_faults(root, part, manifest.schema)
                done += part.rows
                progress.update(done, done)
    return manifest, faults


def _day_faults(day: DayEntry) -> Iterator[str]:
    for name in ("rows", "positives"):
        of_parts, of_day = sum(getattr(part, name) for part in day.parts), getattr(day, name)
        if of_parts != of_day:
            yield f"day {day.day}: the manifest says {of_day} {name}, its parts have {of_parts}"


def _part_faults(root: Path, part: PartEntry, schema: Schema) -> Iterator[str]:
    for name in DTYPES:
        path = root / part.path / f"{name}.npy"
        try:
            if sha256_of(path) != part.sha256.get(path.name):
                yield f"{path}: its sha256 is not the manifest's"
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            yield f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
            continue
        yield from (f"{path}: {fault}" for fault in _array_faults(name, array, part, schema))


def _array_faults(name: str, array: NDArray[Any], part: PartEntry, schema: Schema) -> Iterator[str]:
    shape = (part.rows, {"dense": len(schema.dense), "sparse": len(schema.sparse), "label": 1}[name])
    if array.shape != shape or array.dtype != DTYPES[name]:
        yield f"holds {array.dtype} {list(array.shape)}, not {np.dtype(DTYPES[name])} {list(shape)}"
        return
    wrong = sum(int(_WRONG[name](array[first : first + ROWS_A_CHECK], schema).sum()) for first in range(0, len(array), ROWS_A_CHECK))
    if wrong:
        yield f"{wrong} values out of range ({_RANGES[name]})"
    if name == "label" and int(array.sum()) != part.positives:
        yield f"{int(array.sum())} positives, the manifest says {part.positives}"


def _wrong_dense(rows: NDArray[Any], schema: Schema) -> NDArray[np.bool_]:
    return ~np.isfinite(rows)


def _wrong_sparse(rows: NDArray[Any], schema: Schema) -> NDArray[np.bool_]:
    return (rows < 0) | (rows >= np.array([feature.num_embeddings for feature in schema.sparse]))


def _wrong_label(rows: NDArray[Any], schema: Schema) -> NDArray[np.bool_]:
    return (rows != 0) & (rows != 1)


_WRONG: dict[str, Callable[[NDArray[Any], Schema], NDArray[np.bool_]]] = {
    "dense": _wrong_dense,
    "sparse": _wrong_sparse,
    "label": _wrong_label,
}
_RANGES = {"dense": "finite numbers", "sparse": "ids from 0 to the column's num_embeddings - 1", "label": "0 or 1"}
