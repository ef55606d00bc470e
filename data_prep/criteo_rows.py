"""The rows of one Criteo log, encoded or counted. Blocks of lines are parsed by several threads at once where there are cores
for it; what comes out is in the order of the lines, and the same, for any number of threads.

Importing this loads numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TypeVar

from data_prep.criteo_tsv import MAX_BAD_ROWS_A_CALL, MAX_LINE_BYTES, RowParser
from data_prep.in_turn import in_turn
from data_prep.inputs import BLOCK_BYTES, Block, LogReader
from data_prep.shards import Part, empty_part
from data_prep.sources import BadRow, Encoding, KeyBlock, RowBlock

MIN_LINE_BYTES = 41
"""Of a line that can be a row: 40 cells and a newline, of which only the label has to have a byte of its own."""
BLOCK_ROWS = (BLOCK_BYTES + MAX_LINE_BYTES) // MIN_LINE_BYTES


Found = TypeVar("Found")


@dataclass(frozen=True)
class _Desk:
    """What a thread parses with: a parser, whose buffers are its own, and room for the rows of a block."""

    parser: RowParser
    room: Part

    def rows(self, block: Block, at: int) -> tuple[int, RowBlock]:
        """The rows of a block from byte `at` on, as far as there is room and few enough are bad to be held in memory; where that ends."""
        row = lines = 0
        bad: list[BadRow] = []
        while at < len(block) and row < self.room.rows and len(bad) < MAX_BAD_ROWS_A_CALL:
            at, row, more, found = self.parser.parse(block, at, self.room, row)
            bad += [replace(one, line=one.line + lines) for one in found]
            lines += more
        return at, RowBlock(self.room.cut(0, row), lines, bad)

    def keys(self, block: Block, at: int) -> tuple[int, Sequence[KeyBlock]]:
        """The keys of these rows."""
        found = list[KeyBlock]()
        while at < len(block) and sum(len(keys.bad) for keys in found) < MAX_BAD_ROWS_A_CALL:
            at, keys = self.parser.keys(block, at)
            found.append(keys)
        return at, found


class CriteoRows:
    """A `data_prep.sources.RowSource`."""

    def __init__(self, path: Path, encoding: Encoding, threads: int) -> None:
        self._reader = LogReader(path)
        self._threads = threads
        self._desks: SimpleQueue[_Desk] = SimpleQueue()
        for _ in range(threads):
            parser = RowParser(encoding.schema, encoding.encoder, encoding.dense)
            self._desks.put(_Desk(parser, empty_part(encoding.schema, BLOCK_ROWS)))

    @property
    def position(self) -> int:
        return self._reader.position

    def rows(self, use: Callable[[RowBlock], None]) -> None:
        self._read(_Desk.rows, use)

    def keys(self, use: Callable[[KeyBlock], None]) -> None:
        def use_each(found: Sequence[KeyBlock]) -> None:
            for keys in found:
                use(keys)

        self._read(_Desk.keys, use_each)

    def _read(self, read: Callable[[_Desk, Block, int], tuple[int, Found]], use: Callable[[Found], None]) -> None:
        """`use` what `read` gives of each block; several blocks are read at once where there are threads."""

        def begin(block: Block) -> tuple[Block, _Desk, int, Found]:
            desk = self._desks.get()
            return block, desk, *read(desk, block, 0)

        def finish(begun: tuple[Block, _Desk, int, Found]) -> None:
            block, desk, at, found = begun
            use(found)
            while at < len(block):
                at, found = read(desk, block, at)
                use(found)
            self._desks.put(desk)

        in_turn(self._reader.blocks(MAX_LINE_BYTES), begin, finish, self._threads)

    def __enter__(self) -> CriteoRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reader.__exit__(kind, error, trace)
