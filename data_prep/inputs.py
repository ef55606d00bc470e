"""Raw logs as they lie on disk: which file is which day, what it was compressed with, and its whole lines block by block."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data_prep.decompress import LogBytes
from data_prep.errors import DataError
from data_prep.paths import is_remote, local_copy, local_path, remote_files, remote_size

BLOCK_BYTES = 1 << 20
"""Few enough that a block stays in a core's cache, and its memory with the process, from reading to parsing."""
Block = bytes | memoryview
COMPRESSED_SUFFIXES = (".gz", ".zst")
RAW_BYTES_PER_COMPRESSED_BYTE = 2.5
"""About: what is asked of a disk before a run."""
HIDDEN = (".", "_")
_DAY = re.compile(r"day[=_-]?(\d+)")


@dataclass(frozen=True)
class LogFile:
    """A log; `size` in bytes, as it lies on disk, compressed or not. A remote one has its `uri`, and its mere name as `path`."""

    path: Path
    size: int
    uri: str = ""

    @property
    def raw_size(self) -> float:
        """About how many bytes it has once decompressed."""
        return self.size * (RAW_BYTES_PER_COMPRESSED_BYTE if self.path.suffix in COMPRESSED_SUFFIXES else 1)

    def __str__(self) -> str:
        return self.uri or str(self.path)


@dataclass(frozen=True)
class DaySource:
    """Where the rows of one day lie: in `files`, all of whose rows are that day's. `made_from` are the logs as the user named
    them, where `files` were only made from them.
    """

    day: int
    files: tuple[LogFile, ...]
    made_from: tuple[LogFile, ...] = ()

    @property
    def origin(self) -> tuple[LogFile, ...]:
        """The logs as the user named them."""
        return self.made_from or self.files

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def named(self, file: LogFile) -> LogFile:
        """The log that one of `files` was made from, as the user named it; where that is not known, the file."""
        return dict(zip(self.files, self.origin, strict=True)).get(file, file) if len(self.files) == len(self.origin) else file

    def __str__(self) -> str:
        others = f" and {len(self.origin) - 1} more" if len(self.origin) > 1 else ""
        return f"{self.origin[0]}{others}"


def find_logs(patterns: Sequence[str]) -> tuple[LogFile, ...]:
    """The files that paths, URIs and glob patterns name, each once, by name; hidden ones (`.x`, `_x`) are not taken by a pattern.

    Raises DataError when a pattern matches nothing, or names a folder, or nothing here can read its scheme.
    """
    found: dict[str, LogFile] = {}
    for pattern in patterns:
        for file in _remote(pattern) if is_remote(pattern) else _local(pattern):
            found.setdefault(file.uri or os.path.abspath(file.path), file)
    return tuple(sorted(found.values(), key=str))


def days_by_name(logs: Iterable[LogFile], day_of: Callable[[str], int]) -> tuple[DaySource, ...]:
    """The logs by the day that `day_of` finds in each one's name, in order of day. A day may have several logs.

    Raises DataError when two of a day differ in nothing but their compression: they must be the same log twice.
    """
    by_day: dict[int, dict[str, LogFile]] = {}
    for log in logs:
        bare = str(log).removesuffix(log.path.suffix) if log.path.suffix in COMPRESSED_SUFFIXES else str(log)
        same_day = by_day.setdefault(day_of(log.path.name), {})
        if bare in same_day:
            raise DataError(f"{same_day[bare]} and {log} are the same log twice: name one of them")
        same_day[bare] = log
    return tuple(DaySource(day, tuple(by_day[day].values())) for day in sorted(by_day))


def find_days(patterns: Sequence[str]) -> tuple[DaySource, ...]:
    """The files that the patterns name, by the number that follows `day` in their names. Raises DataError as the two above do,
    and when a name holds no day."""
    return days_by_name(find_logs(patterns), day_in_name)


def day_in_name(name: str) -> int:
    """The last number after `day` in a file's name; DataError when there is none."""
    found = _DAY.findall(name)
    if not found:
        raise DataError(f"{name}: no day in its name; call it day_0, day_1.gz, day=02.tsv or the like")
    return int(found[-1])


@contextmanager
def local_log(log: LogFile, folder: Path) -> Iterator[LogFile]:
    """The log as a local file while the block lasts: itself, or fetched into `folder` and removed again.

    Raises DataError when `folder` has no room for it, or it cannot be fetched.
    """
    if not log.uri:
        yield log
        return
    with local_copy(log.uri, log.size, folder) as path:
        yield LogFile(path, log.size)


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

    def blocks(self, longest_line: int) -> Iterator[Block]:
        """Blocks of whole lines; the last line gets its newline if it lacks one. A line beyond `longest_line` bytes
        may come cut, but still longer than that, so that no input can fill the memory.

        Raises DataError when a compressed file is damaged or cut off.
        """
        rest = b""
        while data := self._bytes.read():
            end = data.rfind(b"\n") + 1
            if end and not rest and self._bytes.unread(len(data) - end):
                yield memoryview(data)[:end]
            elif end:
                yield b"".join((rest, memoryview(data)[:end]))
                rest = data[end:]
            else:
                rest = (rest + data)[: longest_line + 1]
        if rest:
            yield rest + b"\n"


def _local(pattern: str) -> Iterator[LogFile]:
    pattern = str(local_path(pattern))
    matches = [pattern] if Path(pattern).is_file() else glob.glob(pattern)
    paths = [Path(path) for path in matches if path == pattern or not Path(path).name.startswith(HIDDEN)]
    if not paths:
        raise DataError(f"no file matches {pattern}; quote the pattern and check the folder")
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is not a file: --input takes the log files themselves, for example '{path}/day_*'")
        yield LogFile(path, path.stat().st_size)


def _remote(pattern: str) -> Iterator[LogFile]:
    folder, _, name = pattern.rpartition("/")
    if glob.has_magic(folder):
        raise DataError(f"{pattern}: of a URI only the last part can be a pattern; name the folders one by one")
    matches = fnmatch.filter(remote_files(folder), name) if glob.has_magic(name) else [name]
    for match in matches:
        if match.startswith(HIDDEN) and match != name:
            continue
        size = remote_size(f"{folder}/{match}")
        if size is None:
            raise DataError(
                f"{folder}/{match} is not a file there: check the address, or name the files with a pattern such as '{folder}/*'"
            )
        yield LogFile(Path(match), size, f"{folder}/{match}")
    if not matches:
        raise DataError(f"no file matches {pattern}; quote the pattern and check the folder")
