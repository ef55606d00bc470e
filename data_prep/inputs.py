"""Raw logs as they lie on disk: which file is which day, what it was compressed with, and its whole lines block by block."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.decompress import LogBytes
from data_prep.errors import DataError

BLOCK_BYTES = 1 << 22
COMPRESSED_SUFFIXES = (".gz", ".zst")
_DAY = re.compile(r"day[=_-]?(\d+)")


@dataclass(frozen=True)
class LogFile:
    """A log; `size` in bytes, as it lies on disk, compressed or not."""

    path: Path
    size: int


@dataclass(frozen=True)
class DaySource:
    """Where the rows of one day lie: all rows of `files`, or those of that day where the format has a column for it."""

    day: int
    files: tuple[LogFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def __str__(self) -> str:
        others = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0].path}{others}"


def find_days(patterns: Sequence[str]) -> tuple[DaySource, ...]:
    """The files that the paths and glob patterns name, in order of day.

    Raises DataError when a pattern matches nothing, a name holds no day, or two files claim the same day.
    """
    by_day: dict[int, DaySource] = {}
    for path in sorted({path for pattern in patterns for path in _expand(pattern)}):
        found = _DAY.findall(path.name)
        if not found:
            raise DataError(f"{path}: no day in its name; call it day_0, day_1.gz, day=02.tsv or the like")
        day = int(found[-1])
        if day in by_day:
            raise DataError(f"day {day} is claimed by {by_day[day]} and by {path}: name one file a day")
        by_day[day] = DaySource(day, (LogFile(path, path.stat().st_size),))
    return tuple(by_day[day] for day in sorted(by_day))


class LogReader:
    """A log opened for reading; plain, or compressed when its name ends in .gz or .zst. Use as a context manager.

    `position` is how many bytes of the file on disk have been read.
    """

    def __init__(self, path: Path) -> None:
        self._bytes = LogBytes(path, BLOCK_BYTES)

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bytes.close()

    @property
    def position(self) -> int:
        return self._bytes.position

    def blocks(self, longest_line: int) -> Iterator[bytes]:
        """Blocks of whole lines; the last line gets its newline if it lacks one. A line beyond `longest_line` bytes
        may come cut, but still longer than that, so that no input can fill the memory.

        Raises DataError when a compressed file is damaged or cut off.
        """
        rest = b""
        while data := self._bytes.read():
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end]
                rest = data[end:]
            else:
                rest = (rest + data)[: longest_line + 1]
        if rest:
            yield rest + b"\n"


def _expand(pattern: str) -> list[Path]:
    if "://" in pattern:
        raise DataError(f"{pattern}: only local paths can be read; copy the files here first")
    paths = [Path(path) for path in glob.glob(pattern) if not Path(path).name.startswith(".")]
    if not paths:
        raise DataError(f"no file matches {pattern}; quote the pattern and check the folder")
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is not a file: --input takes the log files themselves, for example '{path}/day_*'")
    return paths
