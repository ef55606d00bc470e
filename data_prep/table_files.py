"""The files of a table, read a batch of rows at a time in bounded memory: CSV text, Parquet, and the days that a split wrote.

Which of these a file is, is told by its first bytes, not by its name. Cells come as they are: what they mean is for
`data_prep.tables` to say. Importing this loads pyarrow.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.ipc as pa_ipc
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.inputs import LogReader
from data_prep.sources import BadRow, Fault
from data_prep.table_schema import CsvLayout, TableSchema
from data_prep.wording import counted

MAX_LINE_BYTES = 1 << 20
MAX_QUOTED_BYTES = 200
PARQUET_ROWS = 1 << 15
PARQUET_BUFFER_BYTES = 1 << 20
PARQUET_MAGIC, SPLIT_MAGIC = b"PAR1", b"ARROW1"
NEWLINE, CARRIAGE_RETURN = 10, 13
LINE, BAD, SPLIT_COLUMNS = "#line", "#bad", 2
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Rows:
    """Some rows of a file: the table's columns, and `lines` int64 [R], where in the file each stands, counted from 0.

    `bad` are lines that hold no row, counted likewise.
    """

    cells: pa.RecordBatch
    lines: NDArray[np.int64]
    bad: Sequence[BadRow]


class TableFile(Protocol):
    """A file opened for one reading."""

    @property
    def position(self) -> int:
        """Bytes of the file on disk read so far, or about as many."""

    def rows(self) -> Iterator[Rows]:
        """All rows in order; DataError when the file is damaged or lacks a column."""

    def close(self) -> None: ...


def open_table(path: Path, table: TableSchema) -> TableFile:
    """The reader for what the file's first bytes say it is. Raises DataError when it is empty or damaged."""
    with path.open("rb") as file:
        first = file.read(len(SPLIT_MAGIC))
    if not first:
        raise DataError(f"{path} is empty: leave it out, or fetch it again")
    if first.startswith(PARQUET_MAGIC):
        return _ParquetFile(path, table)
    return _SplitFile(path) if first == SPLIT_MAGIC else _CsvFile(path, table)


class _CsvFile:
    """Blocks of whole lines, each parsed by Arrow on its own, so that every row keeps its line."""

    def __init__(self, path: Path, table: TableSchema) -> None:
        self._path = path
        self._table = table
        self._reader = LogReader(path)

    @property
    def position(self) -> int:
        return self._reader.position

    def rows(self) -> Iterator[Rows]:
        blocks = map(bytes, self._reader.blocks(MAX_LINE_BYTES))
        block = next(blocks, None)
        if block is None:
            raise DataError(f"{self._path} holds nothing once decompressed: leave it out, or fetch it again")
        names, read = self._table.csv.columns, 0
        if not names:
            header, _, block = block.partition(b"\n")
            names, read = self._names(header), 1
        _require_columns(names, self._table, self._path)
        parser = _LineParser(names, self._table)
        while block is not None:
            if block:
                lines = _Lines(block)
                cells, kept, bad = parser.parse(lines, np.arange(lines.count))
                bad = [BadRow(read + row.line, row.fault, row.reason, row.text) for row in bad]
                yield Rows(cells, kept + read, sorted(bad, key=lambda row: row.line))
                read += lines.count
            block = next(blocks, None)

    def _names(self, header: bytes) -> tuple[str, ...]:
        """The columns that the header line names."""
        line = header.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r") + b"\n"
        try:
            first = pa_csv.read_csv(pa.py_buffer(line), parse_options=_parse_options(self._table.csv))
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise DataError(f"{self._path}: its first line is no header of columns ({error}); name them under csv.columns") from error
        return tuple(first.column_names)

    def close(self) -> None:
        self._reader.__exit__(None, None, None)


class _Lines:
    """A block of whole lines: bytes, and where each line begins and ends."""

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.ends = np.flatnonzero(np.frombuffer(block, np.uint8) == NEWLINE) + 1
        self.starts = np.concatenate([[0], self.ends[:-1]])

    @property
    def count(self) -> int:
        return len(self.ends)

    def with_carriage_returns(self) -> NDArray[np.int64]:
        """Lines that have some elsewhere than at their end."""
        bytes_of_block = np.frombuffer(self.block, np.uint8)
        where = np.flatnonzero(bytes_of_block == CARRIAGE_RETURN)
        stray = where[bytes_of_block[where + 1] != NEWLINE]
        return np.unique(np.searchsorted(self.ends, stray, "right"))

    def text(self, line: int) -> str:
        """How a line begins."""
        end = min(int(self.ends[line]) - 1, int(self.starts[line]) + MAX_QUOTED_BYTES)
        return self.block[int(self.starts[line]) : end].decode("utf-8", "backslashreplace")


class _LineParser:
    """Lines to cells of bytes. A line that Arrow would run together with others, by an open quote, is a bad one."""

    def __init__(self, names: Sequence[str], table: TableSchema) -> None:
        self._count = len(names)
        self._layout = table.csv
        self._sentinel = table.csv.delimiter.encode() * (len(names) - 1) + b"\n"
        self._names = list(names)
        self._convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(table.columns, pa.binary()),
            include_columns=list(table.columns),
            null_values=list(table.csv.missing),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            check_utf8=False,
        )

    def parse(self, lines: _Lines, which: NDArray[np.int64]) -> tuple[pa.RecordBatch, NDArray[np.int64], list[BadRow]]:
        """The cells of the lines `which`, consecutive ones of `lines`; which of them are rows, and the others."""
        long = lines.ends[which] - lines.starts[which] - 1 > MAX_LINE_BYTES
        bad = [self._bad(lines, line, Fault.TOO_LONG, f"longer than {MAX_LINE_BYTES} bytes") for line in which[long]]
        # A row more for a carriage return and one fewer for a quote left open would make the number right again.
        quoted = self._layout.quote and self._layout.quote.encode() in lines.block
        alone = lines.with_carriage_returns() if quoted else which[:0]
        cells, kept, worse = self._parse_apart(lines, which[~long], alone)
        return cells, kept, bad + worse

    def _parse_apart(
        self, lines: _Lines, which: NDArray[np.int64], alone: NDArray[np.int64]
    ) -> tuple[pa.RecordBatch, NDArray[np.int64], list[BadRow]]:
        """Lines with gaps between them, run by run, and those of `alone` one by one."""
        apart = np.isin(which, alone)
        runs = [run for run in np.split(which, np.flatnonzero((np.diff(which) > 1) | apart[1:] | apart[:-1]) + 1) if len(run)]
        return _joined([self._parse_run(lines, run) for run in runs] or [self._parse_run(lines, which[:0])])

    def _parse_run(self, lines: _Lines, which: NDArray[np.int64]) -> tuple[pa.RecordBatch, NDArray[np.int64], list[BadRow]]:
        """Consecutive lines. A last line of empty cells is added: when the rows and the refused lines are not as many as
        the lines then, a quote left open has swallowed line ends, and halves are parsed until the line is found."""
        first, end = (int(lines.starts[which[0]]), int(lines.ends[which[-1]])) if len(which) else (0, 0)
        cells, refused = self._read(lines.block[first:end] + self._sentinel)
        if cells is not None and cells.num_rows + len(refused) == len(which) + 1:
            bad = [self._refused(lines, int(which[row.number - 1]), row.actual_columns) for row in refused]
            kept = np.delete(which, [row.number - 1 for row in refused])
            return _one_batch(cells.slice(0, len(kept))), kept, bad
        if len(which) == 1:
            empty = _one_batch(pa.table({name: pa.array([], pa.binary()) for name in self._convert.include_columns}))
            return empty, which[:0], [self._lone(lines, int(which[0]))]
        half = len(which) // 2
        return _joined([self._parse_run(lines, which[:half]), self._parse_run(lines, which[half:])])

    def _read(self, block: bytes) -> tuple[pa.Table | None, list[pa_csv.InvalidRow]]:
        """The cells of a block and the lines refused for their number of columns; no cells when Arrow refuses it as a whole."""
        refused: list[pa_csv.InvalidRow] = []

        def refuse(row: pa_csv.InvalidRow) -> str:
            refused.append(row)
            return "skip"

        options = pa_csv.ReadOptions(column_names=self._names, use_threads=False, block_size=len(block) + 1)
        try:
            # Arrow cannot hand over a refused line that is not UTF-8: such a block is refused whole, and its halves are tried.
            parse = _parse_options(self._layout, refuse if _is_utf8(block) else None)
            return pa_csv.read_csv(pa.py_buffer(block), options, parse, self._convert), refused
        except pa.ArrowInvalid:
            return None, []

    def _lone(self, lines: _Lines, line: int) -> BadRow:
        """A line that cannot be read even by itself: it leaves a quote open, or is not UTF-8 and has too few or many columns."""
        text = lines.block[int(lines.starts[line]) : int(lines.ends[line])].decode("latin-1").encode()
        cells, refused = self._read(text + self._sentinel)
        if cells is not None and (cells.num_rows, len(refused)) == (1, 1):
            return self._refused(lines, line, refused[0].actual_columns)
        return self._bad(lines, line, Fault.QUOTE, "a quote is not closed on its line, or a carriage return stands in it")

    def _refused(self, lines: _Lines, line: int, columns: int) -> BadRow:
        return self._bad(lines, line, Fault.COLUMN_COUNT, f"{counted(columns, 'column')}, expected {self._count}")

    def _bad(self, lines: _Lines, line: int, fault: Fault, reason: str) -> BadRow:
        return BadRow(int(line), fault, reason, lines.text(line))


def _joined(
    pieces: Sequence[tuple[pa.RecordBatch, NDArray[np.int64], list[BadRow]]],
) -> tuple[pa.RecordBatch, NDArray[np.int64], list[BadRow]]:
    cells, kept, bad = zip(*pieces, strict=True)
    return _one_batch(pa.Table.from_batches(cells)), np.concatenate(kept), [row for rows in bad for row in rows]


def _one_batch(cells: pa.Table) -> pa.RecordBatch:
    columns = [column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for column in cells.columns]
    return pa.RecordBatch.from_arrays(columns, names=cells.column_names)


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse_options(layout: CsvLayout, refuse: object = None) -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(
        delimiter=layout.delimiter, quote_char=layout.quote or False, ignore_empty_lines=False, invalid_row_handler=refuse
    )


class _ParquetFile:
    """Batches of rows, of the named columns only; a file's row stands for its line."""

    def __init__(self, path: Path, table: TableSchema) -> None:
        self._path = path
        self._table = table
        self._read = 0
        try:
            self._file = pa_parquet.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path} is damaged or cut off ({_first_line(error)}): fetch it again") from error
        self._size = path.stat().st_size

    @property
    def position(self) -> int:
        return self._size * self._read // max(1, self._file.metadata.num_rows)

    def rows(self) -> Iterator[Rows]:
        _require_columns(self._file.schema_arrow.names, self._table, self._path)
        batches = self._file.iter_batches(PARQUET_ROWS, columns=list(self._table.columns), use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"{self._path} is damaged after row {self._read:,} ({_first_line(error)}): fetch it again") from error
            if batch is None:
                return
            lines = np.arange(self._read, self._read + batch.num_rows)
            self._read += batch.num_rows
            yield Rows(_decoded(batch), lines, ())

    def close(self) -> None:
        self._file.close()


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Without dictionaries, which change from one row group to the next and cannot within one file of a split."""
    return pa.RecordBatch.from_arrays([column.cast(_without_dictionary(column.type)) for column in batch.columns], batch.schema.names)


def _without_dictionary(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return pa.list_(_without_dictionary(kind.value_type)) if is_list else kind


_FAULT = pa.struct([("fault", pa.int8()), ("reason", pa.string()), ("text", pa.string())])


def split_batch(rows: Rows, which: NDArray[np.int64], bad: Sequence[BadRow]) -> pa.RecordBatch:
    """Rows `which` of `rows`, and the bad lines `bad` after them, as a split file has them."""
    lines = np.concatenate([rows.lines[which], np.array([row.line for row in bad], np.int64)])
    faults = [{"fault": int(row.fault), "reason": row.reason, "text": row.text} for row in bad]
    marks = pa.concat_arrays([pa.nulls(len(which), _FAULT), pa.array(faults, _FAULT)])
    cells = rows.cells if len(which) == rows.cells.num_rows else rows.cells.take(pa.array(which))
    columns = [pa.concat_arrays([column, pa.nulls(len(bad), column.type)]) if bad else column for column in cells.columns]
    return pa.RecordBatch.from_arrays([pa.array(lines), marks, *columns], names=[LINE, BAD, *cells.schema.names])


class SplitWriter:
    """A split file being written, batch by batch; a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._writer: pa_ipc.RecordBatchFileWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._writer = pa_ipc.new_file(self._file, batch.schema, options=pa_ipc.IpcWriteOptions(compression="lz4"))
        self._writer.write_batch(batch)

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None and kind is None:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()


class _SplitFile:
    """The rows of one day out of one file, as `data_prep.split` wrote them: an Arrow file that has each row's line, and the
    lines that held no row with their fault in place of cells."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source = pa.OSFile(str(path))
        try:
            self._file = pa_ipc.open_file(self._source)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path} is a damaged Arrow file ({error}): fetch it again") from error
        if LINE not in self._file.schema.names:
            raise DataError(f"{path} is an Arrow file: write its table as Parquet or CSV")

    @property
    def position(self) -> int:
        return int(self._source.tell())

    def rows(self) -> Iterator[Rows]:
        for number in range(self._file.num_record_batches):
            batch = self._file.get_batch(number)
            lines = batch.column(LINE).to_numpy()
            faults = batch.column(BAD)
            good = faults.is_null()
            bad = [
                BadRow(int(line), Fault(fault["fault"]), fault["reason"], fault["text"])
                for line, fault in zip(lines[~good.to_numpy(zero_copy_only=False)], faults.drop_null().to_pylist(), strict=True)
            ]
            cells = batch.select(batch.schema.names[SPLIT_COLUMNS:])
            yield Rows(cells.filter(good), lines[good.to_numpy(zero_copy_only=False)], bad)

    def close(self) -> None:
        self._source.close()


def _require_columns(names: Sequence[str], table: TableSchema, path: Path) -> None:
    for name in table.columns:
        if list(names).count(name) != 1:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}? " if near and near[0] != name else ""
            fault = f"has two columns {name!r}" if name in names else f"has no column {name!r}, which the schema names"
            raise DataError(f"{path} {fault}: {hint}it has {', '.join(names)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
