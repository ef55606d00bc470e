"""Every promise of the manifest checked against the bytes on disk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.progress import Progress
from data_prep.schema import JaggedFeature, Schema
from data_prep.shards import DTYPES, DayEntry, Manifest, PartEntry, open_manifest, sha256_of
from data_prep.vocabulary import faults_in_shards

ROWS_A_CHECK = 1 << 18


def verify(root: Path) -> tuple[Manifest, list[str]]:
    """The manifest and every fault of the shards in `root`, one line each: files missing, altered or of a wrong shape or
    type, values out of range, counts that do not add up. Raises DataError when there is no manifest to check against.
    """
    manifest = open_manifest(root)
    total = sum(day.rows for day in manifest.days)
    faults = faults_in_shards(root, manifest.parameters)
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
    folder = root / part.path
    for name in DTYPES:
        array = yield from _read(folder / f"{name}.npy", part)
        if array is not None:
            yield from (f"{folder / name}.npy: {fault}" for fault in _array_faults(name, array, part, schema))
    for feature in schema.jagged:
        values = yield from _read(folder / f"{feature.name}.values.npy", part)
        offsets = yield from _read(folder / f"{feature.name}.offsets.npy", part)
        if values is not None and offsets is not None:
            yield from (f"{folder / feature.name}.{fault}" for fault in _jagged_faults(values, offsets, part, feature))


def _read(path: Path, part: PartEntry) -> Generator[str, None, NDArray[Any] | None]:
    """Yields the faults of the file itself; returns its array, mapped, or None when it cannot be read."""
    try:
        if sha256_of(path) != part.sha256.get(path.name):
            yield f"{path}: its sha256 is not the manifest's"
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        yield f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        return None
    return array


def _array_faults(name: str, array: NDArray[Any], part: PartEntry, schema: Schema) -> Iterator[str]:
    shape = (part.rows, {"dense": len(schema.dense), "sparse": len(schema.sparse), "label": 1}[name])
    if array.shape != shape or array.dtype != DTYPES[name]:
        yield _misshapen(array, DTYPES[name], shape)
        return
    wrong = sum(int(_WRONG[name](rows, schema).sum()) for rows in _steps(array))
    if wrong:
        yield f"{wrong} values out of range ({_RANGES[name]})"
    if name == "label" and int(array.sum()) != part.positives:
        yield f"{int(array.sum())} positives, the manifest says {part.positives}"


def _jagged_faults(values: NDArray[Any], offsets: NDArray[Any], part: PartEntry, feature: JaggedFeature) -> Iterator[str]:
    """Each beginning with `values.npy: ` or `offsets.npy: `."""
    for name, array, dtype, shape in (("offsets", offsets, np.int64, (part.rows + 1,)), ("values", values, np.int32, (values.size,))):
        if array.shape != shape or array.dtype != dtype:
            yield f"{name}.npy: {_misshapen(array, dtype, shape)}"
            return
    lengths = np.diff(offsets)
    if offsets[0] != 0 or (lengths < 0).any():
        yield "offsets.npy: do not begin at 0 and rise"
    elif offsets[-1] != len(values):
        yield f"offsets.npy: end at {offsets[-1]}, there are {len(values)} values"
    elif longest := int((lengths > feature.max_length).sum()):
        yield f"offsets.npy: {longest} lists longer than max_length = {feature.max_length}"
    wrong = sum(int(((ids < 0) | (ids >= feature.num_embeddings)).sum()) for ids in _steps(values))
    if wrong:
        yield f"values.npy: {wrong} values out of range ({_RANGES['sparse']})"


def _misshapen(array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]) -> str:
    return f"holds {array.dtype} {list(array.shape)}, not {np.dtype(dtype)} {list(shape)}"


def _steps(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for first in range(0, len(array), ROWS_A_CHECK):
        yield array[first : first + ROWS_A_CHECK]


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
