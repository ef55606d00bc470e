"""The parts of a day, hashed and written in a thread of their own while the next one is filled."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from data_prep.schema import Schema
from data_prep.shards import PartEntry, empty_part, write_part


class PartWriter:
    """Fill `part`, then `write` it and fill the next one: two sets of arrays take turns. A context manager.

    `folder` gets the parts, which the manifest will name below `day`. OSError, such as that of a full disk, is raised by a
    later `write` or by `finish`.
    """

    def __init__(self, folder: Path, day: str, schema: Schema, rows: int) -> None:
        self._folder = folder
        self._day = day
        self._thread = ThreadPoolExecutor(1, "write_part")
        self._written: list[Future[PartEntry]] = []
        self.part, self._other = empty_part(schema, rows), empty_part(schema, rows)

    def write(self, rows: int) -> None:
        """Write the first `rows` rows of `part`, which is another one from now on."""
        if self._written:
            self._written[-1].result()
        name = f"part-{len(self._written):05d}"
        self._written.append(self._thread.submit(write_part, self._folder / name, f"{self._day}/{name}", self.part.head(rows)))
        self.part, self._other = self._other, self.part

    def finish(self) -> list[PartEntry]:
        """The entries of all parts, once they are on the disk."""
        return [part.result() for part in self._written]

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)
