"""The rows of one Criteo log, put into parts or counted. Blocks of lines are parsed by several threads at once where there are cores
for it; what comes out is in the order of the lines, and the same, for any number of threads.

Importing this loads numba.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TypeVar

from data_prep.ahead import load_ahead
from data_prep.criteo_tsv import MAX_BAD_ROWS_A_CALL, MAX_LINE_BYTES, RowParser
from data_prep.inputs import BLOCK_BYTES, LogReader
from data_prep.shards import Part, empty_part
from data_prep.sources import BadRow, Encoding, Filled, KeyBlock

MIN_LINE_BYTES = 41
"""Of a line that can be a row: 40 cells and a newline, of which only the label has to have a byte of its own."""
BLOCK_ROWS = (BLOCK_BYTES + MAX_LINE_BYTES) // MIN_LINE_BYTES

Read = TypeVar("Read")


@dataclass(frozen=True)
class _Desk:
    """What a thread parses with: a parser, whose buffers are its own, and room for the rows of a block."""

    parser: RowParser
    rows: Part


@dataclass(frozen=True)
class _Parsed:
    """A block as far as it has been parsed, to byte `end`; its rows are the first `filled` of the desk."""

    block: bytes
    end: int = 0
    filled: int = 0
    lines: int = 0
    bad: Sequence[BadRow] = ()
    desk: _Desk | None = None


@dataclass(frozen=True)
class _Counted:
    """The keys of a block up to byte `end`."""

    block: bytes
    end: int
    keys: Sequence[KeyBlock]


class CriteoRows:
    """A `data_prep.sources.RowSource`."""

    def __init__(self, path: Path, encoding: Encoding, threads: int) -> None:
        self._reader = LogReader(path)
        self._threads = threads
        self._parser = RowParser(encoding.schema, encoding.encoder, encoding.dense)
        self._desks: SimpleQueue[_Desk] = SimpleQueue()
        for _ in range(threads + 2 if threads > 1 else 1):  # one more than there are blocks ahead: that of the block in use
            parser = RowParser(encoding.schema, encoding.encoder, encoding.dense)
            self._desks.put(_Desk(parser, empty_part(encoding.schema, BLOCK_ROWS)))
        # A single thread parses straight into the part, without a desk between.
        self._parsed = self._each_block(self._parse if threads > 1 else _Parsed)
        self._now = _Parsed(b"")
        self._taken = self._at = 0

    @property
    def position(self) -> int:
        return self._reader.position

    def fill(self, part: Part, row: int) -> Filled:
        now = self._now
        if self._taken < now.filled:
            return self._take(part, row, lines=0, bad=())
        if self._at < len(now.block):
            self._at, row, lines, bad = self._parser.parse(now.block, self._at, part, row)
            return Filled(row, lines, bad, ended=False)
        if now.desk is not None:
            self._desks.put(now.desk)
        following = next(self._parsed, None)
        self._now, self._taken, self._at = following or _Parsed(b""), 0, following.end if following else 0
        if following is None:
            return Filled(row, 0, (), ended=True)
        return self._take(part, row, following.lines, following.bad)

    def _take(self, part: Part, row: int, lines: int, bad: Sequence[BadRow]) -> Filled:
        """Copy as many rows of the block as the part has room for."""
        count = min(part.rows - row, self._now.filled - self._taken)
        if self._now.desk is not None:
            rows = self._now.desk.rows
            for target, source in ((part.dense, rows.dense), (part.sparse, rows.sparse), (part.label, rows.label)):
                target[row : row + count] = source[self._taken : self._taken + count]
        self._taken += count
        return Filled(row + count, lines, bad, ended=False)

    def _parse(self, block: bytes) -> _Parsed:
        """In a thread: a block as far as it has rows, and not too many bad ones to be held in memory."""
        desk = self._desks.get()
        at = row = lines = 0
        bad: list[BadRow] = []
        while at < len(block) and row < desk.rows.rows and len(bad) < MAX_BAD_ROWS_A_CALL:
            at, row, more, found = desk.parser.parse(block, at, desk.rows, row)
            bad += [replace(one, line=one.line + lines) for one in found]
            lines += more
        return _Parsed(block, at, row, lines, bad, desk)

    def keys(self) -> Iterator[KeyBlock]:
        for counted in self._each_block(self._count):
            yield from counted.keys
            at = counted.end
            while at < len(counted.block):
                at, more = self._parser.keys(counted.block, at)
                yield more

    def _count(self, block: bytes) -> _Counted:
        """In a thread, as `_parse`."""
        desk = self._desks.get()
        at, found = 0, list[KeyBlock]()
        while at < len(block) and sum(len(keys.bad) for keys in found) < MAX_BAD_ROWS_A_CALL:
            at, keys = desk.parser.keys(block, at)
            found.append(keys)
        self._desks.put(desk)
        return _Counted(block, at, found)

    def _each_block(self, read: Callable[[bytes], Read]) -> Iterator[Read]:
        """`read` of each block, in order; several at once where there are threads."""
        ahead = self._threads + 1 if self._threads > 1 else 0
        return load_ahead(read, self._reader.blocks(MAX_LINE_BYTES), ahead, self._threads)

    def __enter__(self) -> CriteoRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        del self._parsed  # ends its threads
        self._reader.__exit__(kind, error, trace)
