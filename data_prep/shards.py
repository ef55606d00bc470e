"""The shard format, written and read: day folders of memory-mappable arrays, and one manifest that names them all.

The layout, R being the rows of a part:

    <root>/manifest.json
    <root>/day=00/day.json                  the day's entry of the manifest, and what it was made from
    <root>/day=00/part-00000/dense.npy      float32 [R, dense columns]
    <root>/day=00/part-00000/sparse.npy     int32   [R, sparse columns]
    <root>/day=00/part-00000/label.npy      int32   [R, 1], 0 or 1

and for each jagged column `name` (sequences, multi-hot sets), N being the ids of all rows:

    <root>/day=00/part-00000/<name>.values.npy    int32 [N]
    <root>/day=00/part-00000/<name>.offsets.npy   int64 [R + 1]; row r has values[offsets[r] : offsets[r + 1]]
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.atomic import write_json
from data_prep.errors import DataError
from data_prep.paths import is_remote, local_copy, local_path, remote_size
from data_prep.schema import Schema
from data_prep.wording import counted

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
VALUES, OFFSETS = ".values.npy", ".offsets.npy"
"""After the name of a jagged column, the names of its files."""
DTYPES: Mapping[str, type[np.generic]] = {"dense": np.float32, "sparse": np.int32, "label": np.int32}


@dataclass(frozen=True)
class PartEntry:
    """One part in the manifest: `path` is relative to the root, `sha256` maps a file name to its hex digest."""

    path: str
    rows: int
    positives: int
    sha256: Mapping[str, str]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> PartEntry:
        return cls(str(raw["path"]), int(raw["rows"]), int(raw["positives"]), dict(raw["sha256"]))


@dataclass(frozen=True)
class DayEntry:
    """One day in the manifest; its rows are those of its parts, in order. `bad_rows` were left out as malformed."""

    day: int
    rows: int
    positives: int
    parts: tuple[PartEntry, ...]
    bad_rows: int = 0

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> DayEntry:
        parts = tuple(PartEntry.from_json(part) for part in raw["parts"])
        return cls(int(raw["day"]), int(raw["rows"]), int(raw["positives"]), parts, int(raw.get("bad_rows", 0)))


@dataclass(frozen=True)
class Manifest:
    """All there is to know about a folder of shards without opening an array."""

    schema: Schema
    parameters: Mapping[str, Any]
    days: tuple[DayEntry, ...]

    def day(self, number: int) -> DayEntry:
        """The entry of one day; DataError listing the days there are when it is not among them."""
        for entry in self.days:
            if entry.day == number:
                return entry
        known = ", ".join(str(entry.day) for entry in self.days) or "none"
        raise DataError(f"day {number} is not in these shards; days there: {known}")

    @property
    def size_text(self) -> str:
        """`5 days, 500,000 rows`."""
        return f"{counted(len(self.days), 'day')}, {counted(sum(day.rows for day in self.days), 'row')}"

    def to_json(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "schema": self.schema.to_json(),
            "parameters": dict(self.parameters),
            "days": [asdict(entry) for entry in self.days],
        }


@dataclass(frozen=True)
class Jagged:
    """A list of ids a row: row r has values[offsets[r] : offsets[r + 1]]. values int32 [N], offsets int64 [R + 1], offsets[0] = 0."""

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.int32], lengths: NDArray[np.integer[Any]]) -> Jagged:
        """Lists of these lengths, whose ids follow each other in `values`."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def cut(self, first: int, end: int) -> Jagged:
        """Rows `first` to before `end`, or to the last."""
        offsets = self.offsets[first : end + 1]
        return Jagged(self.values[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])


@dataclass(frozen=True)
class Part:
    """Rows in memory or mapped from disk: dense float32 [R, dense], sparse int32 [R, sparse], label int32 [R, 1], and
    `jagged`, the lists of each jagged column by its name, in the order of the schema; empty where the schema has none.
    """

    dense: NDArray[np.float32]
    sparse: NDArray[np.int32]
    label: NDArray[np.int32]
    jagged: Mapping[str, Jagged] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.label)

    def cut(self, first: int, end: int) -> Part:
        """Rows `first` to before `end`, or to the last, uncopied."""
        jagged = {name: lists.cut(first, end) for name, lists in self.jagged.items()}
        return Part(self.dense[first:end], self.sparse[first:end], self.label[first:end], jagged)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every array with the name of its file."""
        yield from ((f"{name}.npy", getattr(self, name)) for name in DTYPES)
        for name, lists in self.jagged.items():
            yield name + VALUES, lists.values
            yield name + OFFSETS, lists.offsets


def empty_part(schema: Schema, rows: int) -> Part:
    """Arrays to be filled, of `rows` rows, without lists. What is not written takes address space, not memory."""
    return Part(
        np.empty((rows, len(schema.dense)), np.float32),
        np.empty((rows, len(schema.sparse)), np.int32),
        np.empty((rows, 1), np.int32),
    )


_MAGIC, _START_BYTES = b"\x93NUMPY\x01\x00", 10
_HEADER = re.compile(rb"\{'descr': '(?P<type>[<|][a-z]\d+)', 'fortran_order': False, 'shape': \((?P<shape>[\d, ]*)\), \} *\n")


def day_folder(day: int) -> str:
    return f"day={day:02d}"


def open_manifest(root: str | Path) -> Manifest:
    """Read `<root>/manifest.json`; `root` may be a URI. Raises DataError when it is missing, malformed or of another format version."""
    path = f"{root}/{MANIFEST}" if is_remote(str(root)) else str(local_path(str(root)) / MANIFEST)
    try:
        raw = _read_remote_json(path) if is_remote(path) else read_json(Path(path))
    except FileNotFoundError:
        raise DataError(f"no shards in {root}: {MANIFEST} is missing; make them with `data-prep run --out {root}`") from None
    if isinstance(raw, dict) and raw.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise DataError(f"{path}: format version {raw['format_version']!r}, this program reads {FORMAT_VERSION}; make the shards again")
    try:
        days = tuple(DayEntry.from_json(day) for day in raw["days"])
        return Manifest(Schema.from_json(raw["schema"]), dict(raw["parameters"]), days)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a manifest of shards ({error!r}); make it again with `data-prep run`") from error


def open_part(root: str | Path, part: PartEntry) -> Part:
    """Memory-map one part. Raises DataError when a file is missing, unreadable, or not of the manifest's row count and type.

    Which jagged columns it has is told by the entry's files.
    """
    folder = Path(root) / part.path
    arrays = {name: _open_array(folder / f"{name}.npy", (part.rows, None), dtype) for name, dtype in DTYPES.items()}
    jagged = {}
    for name in (file.removesuffix(OFFSETS) for file in part.sha256 if file.endswith(OFFSETS)):
        offsets = _open_array(folder / (name + OFFSETS), (part.rows + 1,), np.int64)
        jagged[name] = Jagged(_open_array(folder / (name + VALUES), (int(offsets[-1]),), np.int32), offsets)
    return Part(**arrays, jagged=jagged)


def _open_array(path: Path, shape: tuple[int | None, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Map one array; DataError when it cannot be, or is not of this type and shape (None: any size)."""
    root = path.parents[2]
    try:
        array = _map_array(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; `data-prep verify {root}` lists every fault") from error
    fits = array.ndim == len(shape) and all(size in (None, found) for size, found in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        found = f"{array.dtype} {list(array.shape)}"
        raise DataError(f"{path} holds {found}, the manifest says {np.dtype(dtype)} with {shape[0]} rows; run `data-prep verify {root}`")
    return array


def _map_array(path: Path) -> NDArray[Any]:
    """As `np.load(path, mmap_mode="r")`, which reads the header by Python's parser, and was seen to raise SystemError beside a thread
    that did the same (CPython 3.11.7; python/cpython#106905). Raises OSError, ValueError."""
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
        header = file.read(int.from_bytes(start[-2:], "little"))
    told = _HEADER.fullmatch(header)
    if start[:-2] != _MAGIC or told is None:
        raise ValueError(f"no .npy file of version 1.0 with rows: it begins with {(start + header)[:100]!r}")
    shape = tuple(int(size) for size in told["shape"].split(b",") if size.strip())
    return np.memmap(path, told["type"].decode(), "r", len(start) + len(header), shape)


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write `<root>/manifest.json`, atomically."""
    write_json(root / MANIFEST, manifest.to_json())


def read_json(path: Path) -> Any:
    """The JSON value in `path`; DataError when it is not JSON, FileNotFoundError when it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}; delete it and run again") from error


def _read_remote_json(uri: str) -> Any:
    size = remote_size(uri)
    if size is None:
        raise FileNotFoundError(uri)
    with tempfile.TemporaryDirectory() as folder, local_copy(uri, size, Path(folder)) as path:
        return read_json(path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
