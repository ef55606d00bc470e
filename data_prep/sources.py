"""What preparation asks of a log, whatever its format: blocks of encoded rows, or the keys of its categorical cells.

Every categorical cell is a *key*, an unsigned 64-bit number: the value of Criteo's hex digits or of an integer, the hash of a
text. What id a key becomes is the encoder's matter (`data_prep.categorical`), not that of a source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.categorical import Encoder
from data_prep.dense_transform import DenseTransform
from data_prep.inputs import DaySource, LogFile, day_in_name, days_by_name
from data_prep.schema import Schema
from data_prep.shards import Part


class Fault(IntEnum):
    """What can be wrong with a row, worst first: a row is reported under the first that holds."""

    NONE = 0
    NUL_BYTE = 1
    TOO_LONG = 2
    COLUMN_COUNT = 3
    LABEL = 4
    NOT_INTEGER = 5
    INTEGER_RANGE = 6
    NOT_HEX = 7
    NOT_NUMBER = 8
    NOT_FINITE = 9
    NOT_KEY = 10
    NOT_DATE = 11
    QUOTE = 12


@dataclass(frozen=True)
class BadRow:
    """A row left out: its line counted from 0 since the call before, why, and how it begins."""

    line: int
    fault: Fault
    reason: str
    text: str


@dataclass(frozen=True)
class RowBlock:
    """Some rows, encoded; `lines` were read for them, and `bad` are those among them that hold no row."""

    rows: Part
    lines: int
    bad: Sequence[BadRow]


@dataclass(frozen=True)
class KeyBlock:
    """Some rows for counting: `keys` has one array a categorical column, the uint64 keys of those cells that are not missing.

    `lines` were read for it, and `bad` are those among them that hold no row.
    """

    keys: Sequence[NDArray[np.uint64]]
    lines: int
    bad: Sequence[BadRow]


@dataclass(frozen=True)
class Encoding:
    """What the cells of `schema`'s columns become: keys the ids that `encoder` gives them, numbers what `dense` makes of them."""

    schema: Schema
    encoder: Encoder
    dense: DenseTransform


class RowSource(Protocol):
    """A log opened for one reading, by `rows` or by `keys`. A context manager. Both raise DataError for a damaged file,
    and what `use` raises."""

    @property
    def position(self) -> int:
        """Bytes of the file, as it lies on disk, read so far."""

    def rows(self, use: Callable[[RowBlock], None]) -> None:
        """Call `use` with the rows of the whole source, a block after the other. It may be called in other threads, but never twice at
        once; the arrays of a block are its own until it returns."""

    def keys(self, use: Callable[[KeyBlock], None]) -> None:
        """Call `use` with the keys of the whole source, in the same way, for the first pass of `frequency`; of the very rows that `rows`
        gives."""

    def __enter__(self) -> RowSource: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class LogFormat(Protocol):
    """How the files of an input are read. Picklable, since days are read in processes of their own."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the manifest records of it: all, beside the schema and `header`, that the arrays depend on."""

    @property
    def header(self) -> Sequence[str]:
        """The columns of files that do not name them; recorded with each day, since files of a later day may have others."""

    def days(self, logs: Sequence[LogFile], root: Path, workers: int) -> tuple[DaySource, ...]:
        """The logs by day, in order of day. A format that has the day of a row in a column first divides its logs among days,
        in the work folder of the output `root`. Raises DataError when a log has no day."""

    @property
    def threaded(self) -> bool:
        """Whether several threads can read one file at once."""

    @property
    def preload(self) -> Sequence[str]:
        """Modules to import once for all processes that read: what takes long, such as loading compiled code."""

    def open(self, file: LogFile, day: int, encoding: Encoding, threads: int) -> RowSource:
        """The rows of a local `file`, all of `day`, read by so many `threads` where the format is `threaded`. Raises DataError when it
        cannot be read."""


class CriteoTsv:
    """Criteo's logs: a file of tab-separated lines is one day's, whole or in part."""

    parameters: Mapping[str, Any] = {"input": "criteo"}
    header: Sequence[str] = ()
    threaded = True
    preload = ("data_prep.load_parser",)

    def days(self, logs: Sequence[LogFile], root: Path, workers: int) -> tuple[DaySource, ...]:
        return days_by_name(logs, day_in_name)

    def open(self, file: LogFile, day: int, encoding: Encoding, threads: int) -> RowSource:
        from data_prep.criteo_rows import CriteoRows

        return CriteoRows(file.path, encoding, threads)
