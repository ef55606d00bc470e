"""The files of a part, written as its rows come: they are never held in memory together, whatever the size of the part."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.shards import OFFSETS, VALUES, Part, PartEntry

WRITE_BYTES = 1 << 20
"""Hashed and written at a time, so that they are still in the cache when they are written."""


class ArrayFile:
    """A .npy file of rows like those of an array, appended to, and hashed on the way.

    Its header comes first and tells how many rows there are: `expected`. Where there are others in the end, it is written anew
    in its place and the file is read again for its digest.
    """

    def __init__(self, path: Path, like: NDArray[Any], expected: int) -> None:
        self.rows = 0
        self._expected = expected
        self._header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(like[:0]))
        self._digest = hashlib.sha256()
        self._file = path.open("x+b", buffering=0)
        self._write_header(expected)

    def append(self, rows: NDArray[Any]) -> None:
        self.rows += len(rows)
        raw = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        for first in range(0, len(raw), WRITE_BYTES):
            self.write(raw[first : first + WRITE_BYTES].data)

    def write(self, data: Any) -> None:
        self._digest.update(data)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def finish(self) -> str:
        """The digest, once the file is on the disk."""
        if self.rows != self._expected:
            self._file.seek(0)
            self._write_header(self.rows)
            self._file.seek(0)
            self._digest = hashlib.file_digest(self._file, "sha256")
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()

    def _write_header(self, rows: int) -> None:
        """As long for any number of rows: numpy leaves room for a larger one."""
        np.lib.format.write_array_header_1_0(self, {**self._header, "shape": (rows, *self._header["shape"][1:])})


class PartFiles:
    """The files of a part that is to have `expected` rows like those of `like`, in a new folder."""

    def __init__(self, folder: Path, like: Part, expected: int) -> None:
        folder.mkdir(parents=True)
        self.rows = self._positives = 0
        self._files = {name: ArrayFile(folder / name, array, expected + name.endswith(OFFSETS)) for name, array in like.arrays()}
        for name in like.jagged:
            self._files[name + OFFSETS].append(np.zeros(1, np.int64))

    def append(self, rows: Part) -> None:
        self.rows += rows.rows
        self._positives += int(rows.label.sum())
        for name, lists in rows.jagged.items():
            self._files[name + OFFSETS].append(lists.offsets[1:] + self._files[name + VALUES].rows)
        for name, array in rows.arrays():
            if not name.endswith(OFFSETS):
                self._files[name].append(array)

    def finish(self, path: str) -> PartEntry:
        """The part's entry in the manifest, where it has the relative name `path`, once all of it is on the disk."""
        try:
            return PartEntry(path, self.rows, self._positives, {name: file.finish() for name, file in self._files.items()})
        finally:
            self.close()

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def write_part(folder: Path, path: str, part: Part) -> PartEntry:
    """Write the arrays of one part to the new folder `folder`, flushed to disk, and return its entry under the relative name `path`."""
    files = PartFiles(folder, part, part.rows)
    files.append(part)
    return files.finish(path)
