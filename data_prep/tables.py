"""A table of one's own as a log format: cells checked and turned into labels, numbers and keys, a batch of columns at a time.

The same text or integer becomes the same key in CSV and in Parquet: `string` hashes its text (a Parquet integer's in decimal; a
number with a fraction and a truth value as Arrow spells them, which whoever wrote a CSV may not have), `integer` takes its value
(negative ones as two's complement), `hex` that of its digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pa_compute
from numpy.typing import NDArray

from data_prep.dense_transform import DenseTransform
from data_prep.shards import Jagged, Part
from data_prep.sources import BadRow, Encoding, Fault, KeyBlock, RowBlock
from data_prep.table_files import MAX_QUOTED_BYTES, Rows, TableFile
from data_prep.table_schema import KeyType, SequenceColumn, TableSchema
from data_prep.text_hash import hash_texts, parse_hex


@dataclass(frozen=True)
class Keys:
    """The keys of a column of R cells, uint64 [N], and which of them are missing, bool [N]. In a sequence column, `lengths`
    int64 [R] tells how many of the N are each row's; elsewhere N = R and it is None.
    """

    keys: NDArray[np.uint64]
    missing: NDArray[np.bool_]
    lengths: NDArray[np.int64] | None = None

    def kept(self, good: NDArray[np.bool_]) -> Keys:
        """Those of the rows where `good` (bool [R]) holds."""
        if self.lengths is None:
            return Keys(self.keys[good], self.missing[good])
        of_good = np.repeat(good, self.lengths)
        return Keys(self.keys[of_good], self.missing[of_good], self.lengths[good])


@dataclass(frozen=True)
class Checked:
    """The good rows of a batch: label int32 [R, 1], dense float32 [R, dense] transformed, and the keys of each categorical
    column in the order of the schema; `bad` are the lines left out, `lines` how many there were in all."""

    label: NDArray[np.int32]
    dense: NDArray[np.float32]
    columns: Sequence[Keys]
    bad: Sequence[BadRow]
    lines: int

    @property
    def rows(self) -> int:
        return len(self.label)


class TableRows:
    """The rows of one file of a table, as a RowSource."""

    def __init__(self, file: TableFile, table: TableSchema, encoding: Encoding) -> None:
        self._file = file
        self._encoding = encoding
        self._batches = (check(rows, table, encoding.dense) for rows in file.rows())
        self._told = 0

    @property
    def position(self) -> int:
        return self._file.position

    def rows(self, use: Callable[[RowBlock], None]) -> None:
        for batch in self._batches:
            use(RowBlock(self._encoded(batch), batch.lines, self._since_last_call(batch)))

    def keys(self, use: Callable[[KeyBlock], None]) -> None:
        for batch in self._batches:
            keys = [column.keys[~column.missing] for column in batch.columns]
            use(KeyBlock(keys, batch.lines, self._since_last_call(batch)))

    def _encoded(self, batch: Checked) -> Part:
        schema, encode = self._encoding.schema, self._encoding.encoder.encode
        ids = [encode(number, column.keys, column.missing) for number, column in enumerate(batch.columns)]
        flat = len(schema.sparse)
        sparse = np.column_stack(ids[:flat]) if flat else np.empty((batch.rows, 0), np.int32)
        jagged = {}
        for feature, values, column in zip(schema.jagged, ids[flat:], batch.columns[flat:], strict=True):
            assert column.lengths is not None
            jagged[feature.name] = Jagged.of(values, column.lengths)
        return Part(batch.dense, sparse, batch.label, jagged)

    def _since_last_call(self, batch: Checked) -> list[BadRow]:
        """The bad rows of a batch, their lines counted from those told of before."""
        bad = [BadRow(row.line - self._told, row.fault, row.reason, row.text) for row in batch.bad]
        self._told += batch.lines
        return bad

    def __enter__(self) -> TableRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


class Faults:
    """What is wrong with each of R rows: the first fault that is marked stands."""

    def __init__(self, rows: int) -> None:
        self._code = np.zeros(rows, np.int64)
        self._reasons: list[tuple[Fault, str]] = [(Fault.NONE, "")]

    def mark(self, wrong: NDArray[np.bool_], fault: Fault, reason: str) -> None:
        if wrong.any():
            self._code[wrong & (self._code == 0)] = len(self._reasons)
            self._reasons.append((fault, reason))

    @property
    def good(self) -> NDArray[np.bool_]:
        return self._code == 0

    def bad_rows(self, rows: Rows) -> list[BadRow]:
        found = ((at, *self._reasons[self._code[at]]) for at in np.flatnonzero(self._code).tolist())
        return [BadRow(int(rows.lines[at]), fault, reason, _text(rows.cells, at)) for at, fault, reason in found]


def check(rows: Rows, table: TableSchema, dense: DenseTransform) -> Checked:
    """The rows whose every cell is what the schema says, as arrays; the others as bad rows."""
    faults = Faults(rows.cells.num_rows)
    label = _label(rows.cells.column(table.label), table.label, faults)
    columns = [_dense(rows.cells.column(name), name, dense, faults) for name in table.dense]
    keys: list[Keys] = []
    for name, column in table.sparse.items():
        found, wrong = _keys(rows.cells.column(name), table.key_type(column))
        faults.mark(wrong, *_KEY_FAULTS[table.key_type(column)](name))
        keys.append(found)
    for name, sequence in table.sequence.items():
        lists, unreadable = _lists(rows.cells.column(name), sequence, table.csv.missing)
        faults.mark(unreadable, Fault.NOT_KEY, f"{name} is not a list or a text")
        found, wrong = _keys(lists.flatten(), table.key_type(sequence))
        lengths = pa_compute.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
        of_row = np.zeros(len(lengths), np.bool_)
        of_row[np.repeat(np.arange(len(lengths)), lengths)[wrong]] = True
        faults.mark(of_row, *_KEY_FAULTS[table.key_type(sequence)](f"an id of {name}"))
        keys.append(_cut(Keys(found.keys, found.missing, lengths), sequence))
    good = faults.good
    bad = sorted((*rows.bad, *faults.bad_rows(rows)), key=lambda row: row.line)
    stacked = np.column_stack(columns)[good] if columns else np.empty((int(good.sum()), 0), np.float32)
    return Checked(label[good, None], stacked, [column.kept(good) for column in keys], bad, len(rows.lines) + len(rows.bad))


_KEY_FAULTS: Mapping[KeyType, Any] = {
    "string": lambda name: (Fault.NOT_KEY, f"{name} is not a text, a number or a truth value"),
    "integer": lambda name: (Fault.NOT_INTEGER, f"{name} is not an integer of 64 bits"),
    "hex": lambda name: (Fault.NOT_HEX, f"{name} is not 1 to 16 hex digits"),
}


def _label(cells: pa.Array, name: str, faults: Faults) -> NDArray[np.int32]:
    values, wrong = numbers(cells)
    wrong |= (values != 0) & (values != 1) | nulls(cells)
    faults.mark(wrong, Fault.LABEL, f"label {name} is not 0 or 1")
    return np.where(wrong, 0, values).astype(np.int32)


def _dense(cells: pa.Array, name: str, dense: DenseTransform, faults: Faults) -> NDArray[np.float32]:
    values, wrong = numbers(cells)
    faults.mark(wrong, Fault.NOT_NUMBER, f"{name} is not a number")
    finite = np.isfinite(values)
    faults.mark(~finite, Fault.NOT_FINITE, f"{name} is NaN or infinite")
    transformed = dense.apply(np.where(finite, values, 0))
    faults.mark(~np.isfinite(transformed), Fault.NOT_FINITE, f"{name} does not fit in 32 bits")
    return transformed


def numbers(cells: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """float64 [R], 0 where missing or wrong, and bool [R] where a cell is no number."""
    cells = as_text(cells)
    # A text of many digits is rounded, and so is an integer of as many; Arrow by itself refuses the latter.
    values = cells.cast(pa.float64(), safe=False) if pa.types.is_integer(cells.type) else cast_or_null(cells, pa.float64())
    return values.fill_null(0).to_numpy(zero_copy_only=False), nulls(values) & ~nulls(cells)


def _keys(cells: pa.Array, kind: KeyType) -> tuple[Keys, NDArray[np.bool_]]:
    """The keys of cells, and bool [R] where a cell cannot be one."""
    cells, missing = as_text(cells), nulls(cells)
    if kind == "integer":
        integers = cast_or_null(cells, pa.int64(), pa.uint64())
        return Keys(integers.fill_null(0).to_numpy().view(np.uint64), missing), nulls(integers) & ~missing
    texts = cast_or_null(cells, pa.string()) if not pa.types.is_string(cells.type) else cells
    failed = nulls(texts) & ~missing
    data, offsets = _bytes(texts)
    if kind == "hex":
        keys, bad = parse_hex(data, offsets)
        return Keys(keys, missing), failed | (bad & ~missing)
    return Keys(hash_texts(data, offsets), missing), failed


def _lists(cells: pa.Array, column: SequenceColumn, missing: Sequence[str]) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Lists of cells as they are, or texts split at the separator, and bool [R] where a cell is neither; texts and elements spelled as
    missing ones are null."""
    if pa.types.is_list(cells.type):
        return cells, np.zeros(len(cells), np.bool_)
    texts = cast_or_null(as_text(cells), pa.string())
    unreadable = nulls(texts) & ~nulls(cells)
    lists = pa_compute.split_pattern(_without(texts, missing), column.separator)
    return pa.ListArray.from_arrays(lists.offsets, _without(lists.values, missing), mask=lists.is_null()), unreadable


def _without(texts: pa.Array, missing: Sequence[str]) -> pa.Array:
    """The texts, null where one is spelled as a missing one."""
    return pa_compute.if_else(pa_compute.is_in(texts, pa.array(missing, pa.string())), pa.scalar(None, pa.string()), texts)


def _cut(column: Keys, sequence: SequenceColumn) -> Keys:
    """Each list down to its first or last `max_length` ids."""
    assert column.lengths is not None
    ends = np.cumsum(column.lengths)
    within = np.arange(len(column.keys)) - np.repeat(ends - column.lengths, column.lengths)
    least = np.repeat(column.lengths - sequence.max_length, column.lengths) if sequence.keep == "last" else 0
    kept = (within >= least) & (within < least + sequence.max_length)
    return Keys(column.keys[kept], column.missing[kept], np.minimum(column.lengths, sequence.max_length))


def cast_or_null(cells: pa.Array, kind: pa.DataType, *others: pa.DataType) -> pa.Array:
    """`cells` as `kind`, or as the first of `others` that takes them and then, bits or fractions of a unit lost, as `kind`; null where none
    does. All are tried on the whole, then on halves until the cells at fault are found, so that one bad cell costs a few casts of a
    batch and what counts as a number is Arrow's matter alone."""
    for one in (kind, *others):
        try:
            return cells.cast(one).cast(kind, safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    if len(cells) == 1 or not any(_may_cast(cells.type, one) for one in (kind, *others)):
        return pa.nulls(len(cells), kind)
    half = len(cells) // 2
    return pa.concat_arrays([cast_or_null(cells[:half], kind, *others), cast_or_null(cells[half:], kind, *others)])


def _may_cast(source: pa.DataType, target: pa.DataType) -> bool:
    try:
        pa.array([], source).cast(target)
    except pa.ArrowNotImplementedError:
        return False
    return True


def as_text(cells: pa.Array) -> pa.Array:
    """Bytes of CSV cells as what Arrow casts from; other types as they are."""
    if pa.types.is_binary(cells.type):
        return cells.view(pa.string())
    return cells.cast(pa.string()) if pa.types.is_large_string(cells.type) or pa.types.is_large_binary(cells.type) else cells


def _bytes(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of all texts, and int32 [R + 1] where each begins and ends among them."""
    _, offsets, data = texts.buffers()
    where = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1] if offsets else np.zeros(1, np.int32)
    return np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8), where


def nulls(cells: pa.Array) -> NDArray[np.bool_]:
    """bool [R], to be written to."""
    return np.array(cells.is_null())


def _text(cells: pa.RecordBatch, row: int) -> str:
    """How a row of cells begins, for a person to find it by."""
    values = (_plain(column[row]) for column in cells.columns)
    texts = (value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in values)
    return ",".join("" if text is None else str(text) for text in texts)[:MAX_QUOTED_BYTES]


def _plain(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError):  # a time with nanoseconds, or beyond the year 9999, which Python's have not
        return repr(cell)
