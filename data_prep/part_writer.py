"""The parts of a day, written as its rows come, and flushed by a thread of their own while the next are written."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from data_prep.part_files import PartFiles
from data_prep.shards import Part, PartEntry


class PartWriter:
    """Rows appended to parts of `rows` rows in `folder`, which the manifest will name below `day`. A context manager.

    One part is flushed at a time, so that a slow disk is felt before it has much left to do. OSError, such as that of a full disk, is
    raised by `append` or by `finish`.
    """

    def __init__(self, folder: Path, day: str, rows: int) -> None:
        self._folder = folder
        self._day = day
        self._rows = rows
        self._flushing = ThreadPoolExecutor(1, "flush_part")
        self._part: PartFiles | None = None
        self._entries: list[Future[PartEntry]] = []

    def append(self, rows: Part) -> None:
        row = 0
        while row < rows.rows:
            if self._part is None:
                self._part = PartFiles(self._folder / self._next_name, rows, self._rows)
            end = min(rows.rows, row + self._rows - self._part.rows)
            self._part.append(rows.cut(row, end))
            if self._part.rows == self._rows:
                self._end_part()
            row = end

    def finish(self) -> list[PartEntry]:
        """The entries of all parts, once they are on the disk."""
        self._end_part()
        return [entry.result() for entry in self._entries]

    def _end_part(self) -> None:
        if self._entries:
            self._entries[-1].result()
        if self._part is not None:
            self._entries.append(self._flushing.submit(self._part.finish, f"{self._day}/{self._next_name}"))
            self._part = None

    @property
    def _next_name(self) -> str:
        return f"part-{len(self._entries):05d}"

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._flushing.shutdown()
        if self._part is not None:
            self._part.close()
