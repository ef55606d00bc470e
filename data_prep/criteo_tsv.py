"""Criteo TSV to arrays: a byte-level parser that checks every cell, compiled. Importing this loads numba. It parses without the
interpreter's lock, so that a compressed log is decompressed meanwhile.

A row is `label \\t 13 integers \\t 26 hex ids`, ended by \\n or \\r\\n; an empty cell is missing. What it becomes:

- dense: the transform of the integer as float32, of 0 when missing;
- sparse: the encoder's id of the key that the hex digits spell, 0 when missing; modulo is worked out while parsing;
- label: 0 or 1.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_prep.categorical import Encoder, ModuloEncoder
from data_prep.dense_transform import DenseTransform
from data_prep.hex_words import DIGITS, hex_value, is_hex, load_word
from data_prep.inputs import Block
from data_prep.schema import Schema, criteo_schema
from data_prep.shards import Part, empty_part
from data_prep.sources import BadRow, Fault, KeyBlock
from data_prep.wording import counted

MAX_LINE_BYTES = 1 << 16
MAX_BAD_ROWS_A_CALL = 1024
MAX_QUOTED_BYTES = 200
KEY_ROWS_A_CALL = 1 << 14

NUL, TAB, NEWLINE, RETURN, MINUS, ZERO, NINE = 0, 9, 10, 13, 45, 48, 57
NOT_HEX = 255
MAX_HEX_DIGITS = 8
INT32_MAX = (1 << 31) - 1
NUM_KEYS = 1 << 32
FIRST_IN_TABLE, TABLE_SIZE = -16, 4096


class Rows(NamedTuple):
    """Where rows go: dense float32 [R, columns], sparse int32 or int64 [R, columns], label int32 [R, 1]."""

    dense: NDArray[np.float32]
    sparse: NDArray[np.integer]
    label: NDArray[np.int32]


class Rules(NamedTuple):
    """What cells become: 1 + key mod `moduli` [columns]; `table` for small integers, log(offset + max(x, lowest)) beyond it,
    or x itself where `offset` is 0.
    """

    moduli: NDArray[np.integer]
    table: NDArray[np.float32]
    lowest: float
    offset: float


def _hex_values() -> NDArray[np.uint8]:
    values = np.full(256, NOT_HEX, np.uint8)
    for digit, character in enumerate("0123456789abcdef"):
        values[ord(character)] = values[ord(character.upper())] = digit
    return values


HEX_VALUES = _hex_values()


class RowParser:
    """Parses blocks of whole lines into the rows of a part, or into keys."""

    max_line_bytes = MAX_LINE_BYTES

    def __init__(self, schema: Schema, encoder: Encoder, dense: DenseTransform) -> None:
        self._schema = schema
        self._encoder = encoder
        table = dense.apply(np.arange(FIRST_IN_TABLE, FIRST_IN_TABLE + TABLE_SIZE))
        transform = table, float(dense.lowest), float(dense.offset or 0)
        # Ids modulo as many as there are keys are the keys themselves, plus 1.
        self._key_rules = Rules(np.full(len(schema.sparse), NUM_KEYS), *transform)
        self._modulo_rules = Rules(encoder.moduli.astype(np.uint32), *transform) if isinstance(encoder, ModuloEncoder) else None
        self._raw_keys = np.empty((KEY_ROWS_A_CALL, len(schema.sparse)), np.int64)
        self._found = np.empty((MAX_BAD_ROWS_A_CALL, 4), np.int64)

    def parse(self, block: Block, start: int, part: Part, row: int) -> tuple[int, int, int, list[BadRow]]:
        """Fill `part` from `row` on with the lines of `block` from byte `start` on; the block ends in a newline.

        Stops at the end of the block, when the part is full, when many rows were bad, or after many rows. Returns the byte
        and the row it came to, the lines it read, and the bad rows among them.
        """
        if self._modulo_rules is not None:
            return self._parse(block, start, Rows(part.dense, part.sparse, part.label), row, self._modulo_rules)
        free = slice(row, row + KEY_ROWS_A_CALL)
        rows = Rows(part.dense[free], self._raw_keys[: part.rows - row], part.label[free])
        end, filled, lines, bad = self._parse(block, start, rows, 0, self._key_rules)
        for column in range(rows.sparse.shape[1]):
            raw = rows.sparse[:filled, column]
            part.sparse[row : row + filled, column] = self._encoder.encode(column, (raw - 1).astype(np.uint64), raw == 0)
        return end, row + filled, lines, bad

    def keys(self, block: Block, start: int) -> tuple[int, KeyBlock]:
        """The keys of some lines of `block` from byte `start` on, and the byte it came to."""
        part = self._scratch
        rows = Rows(part.dense, self._raw_keys, part.label)
        end, filled, lines, bad = self._parse(block, start, rows, 0, self._key_rules)
        by_column = np.ascontiguousarray(self._raw_keys[:filled].T)
        return end, KeyBlock([(raw[raw != 0] - 1).astype(np.uint64) for raw in by_column], lines, bad)

    @cached_property
    def _scratch(self) -> Part:
        return empty_part(self._schema, KEY_ROWS_A_CALL)

    def _parse(self, block: Block, start: int, rows: Rows, row: int, rules: Rules) -> tuple[int, int, int, list[BadRow]]:
        end, row, lines, count = _parse(np.frombuffer(block, np.uint8), start, rows, row, rules, self._found)
        return end, row, lines, [self._describe(block, *found) for found in self._found[:count].tolist()]

    def _describe(self, block: Block, line: int, start: int, fault: int, detail: int) -> BadRow:
        text = bytes(block[start : start + MAX_QUOTED_BYTES]).partition(b"\n")[0]
        return BadRow(line, Fault(fault), self._reason(Fault(fault), detail), text.decode("ascii", "backslashreplace"))

    def _reason(self, fault: Fault, detail: int) -> str:
        """`detail` is a count of columns, or the column at fault, the label being 0."""
        dense, sparse = self._schema.dense, self._schema.sparse
        match fault:
            case Fault.NUL_BYTE:
                return "holds a NUL byte"
            case Fault.TOO_LONG:
                return f"longer than {MAX_LINE_BYTES} bytes"
            case Fault.COLUMN_COUNT:
                return f"{counted(detail, 'column')}, expected {1 + len(dense) + len(sparse)}"
            case Fault.LABEL:
                return "label is not 0 or 1"
            case Fault.NOT_INTEGER:
                return f"{dense[detail - 1]} is not an integer"
            case Fault.INTEGER_RANGE:
                return f"{dense[detail - 1]} does not fit in 32 bits"
            case _:
                return f"{sparse[detail - 1 - len(dense)].name} is not 1 to {MAX_HEX_DIGITS} hex digits"


def compile_parser() -> None:
    """Fill numba's cache once, before several processes would all compile the same."""
    from data_prep.dense_transform import dense_transform

    schema = criteo_schema(2)
    parser = RowParser(schema, ModuloEncoder(schema), dense_transform("log1p"))
    parser.parse(b"\n", 0, empty_part(schema, 1), 0)
    parser.keys(b"\n", 0)


@njit(cache=True, nogil=True)
def _parse(data, position, rows, row, rules, bad):  # type: ignore[no-untyped-def]
    lines = count = 0
    num_columns = 1 + rows.dense.shape[1] + rows.sparse.shape[1]
    while position < data.shape[0] and row < rows.label.shape[0] and count < bad.shape[0]:
        start = position
        position, fault, column = _parse_row(data, position, rows.dense[row], rows.sparse[row], rows.label[row], rules)
        if fault == Fault.NONE and position - start <= MAX_LINE_BYTES + 1:  # a longer line comes whole or cut, as blocks happen to fall
            row += 1
        else:
            end, fault, detail = _diagnose(data, start, fault, column, num_columns)
            bad[count, 0], bad[count, 1], bad[count, 2], bad[count, 3] = lines, start, fault, detail
            count += 1
            position = end
        lines += 1
    return position, row, lines, count


@njit(cache=True, nogil=True)
def _parse_row(data, position, dense, sparse, label, rules):  # type: ignore[no-untyped-def]
    """Returns the byte after the row's newline and no fault, or else the fault and its column."""
    if not (data[position] == ZERO or data[position] == ZERO + 1):
        return position, Fault.LABEL, 0
    label[0] = data[position] - ZERO
    position += 1
    for column in range(dense.shape[0]):
        if data[position] != TAB:
            return position, Fault.LABEL if column == 0 else Fault.NOT_INTEGER, column
        position, value, fault = _parse_integer(data, position + 1)
        if fault != Fault.NONE:
            return position, fault, column + 1
        in_table = value - FIRST_IN_TABLE
        dense[column] = rules.table[in_table] if 0 <= in_table < TABLE_SIZE else _transformed(value, rules.lowest, rules.offset)
    for column in range(sparse.shape[0]):
        if data[position] != TAB:
            return position, Fault.NOT_INTEGER if column == 0 else Fault.NOT_HEX, dense.shape[0] + column
        position, value, digits = _parse_hex(data, position + 1)
        if digits > MAX_HEX_DIGITS:
            return position, Fault.NOT_HEX, dense.shape[0] + column + 1
        sparse[column] = 1 + value % rules.moduli[column] if digits else 0
    if data[position] == RETURN:
        position += 1
    if data[position] != NEWLINE:
        return position, Fault.NOT_HEX, dense.shape[0] + sparse.shape[0]
    return position + 1, Fault.NONE, 0


@njit(cache=True, nogil=True)
def _transformed(value, lowest, offset):  # type: ignore[no-untyped-def]
    if offset == 0:
        return np.float64(value)
    return np.log1p(max(np.float64(value), lowest) + (offset - 1))


@njit(cache=True, nogil=True)
def _parse_integer(data, position):  # type: ignore[no-untyped-def]
    """Returns the byte after the digits, the value, and a fault if there is one; an empty cell is 0."""
    negative = data[position] == MINUS
    if negative:
        position += 1
    first, value = position, 0
    while ZERO <= data[position] <= NINE:
        if value <= INT32_MAX:
            value = 10 * value + data[position] - ZERO
        position += 1
    if negative and position == first:
        return position, 0, Fault.NOT_INTEGER
    if value > INT32_MAX + negative:
        return position, 0, Fault.INTEGER_RANGE
    return position, -value if negative else value, Fault.NONE


@njit(cache=True, nogil=True)
def _parse_hex(data, position):  # type: ignore[no-untyped-def]
    """Returns the byte after the digits, their value, and how many there were; of eight, as there are nearly always, at once."""
    if position + DIGITS < data.shape[0]:
        word = load_word(data, position)
        if is_hex(word) and HEX_VALUES[data[position + DIGITS]] == NOT_HEX:
            return position + DIGITS, hex_value(word), DIGITS
    value = np.uint32(0)
    digits = 0
    digit = HEX_VALUES[data[position]]
    while digit != NOT_HEX:
        value = (value << np.uint32(4)) | np.uint32(digit)
        digits += 1
        position += 1
        digit = HEX_VALUES[data[position]]
    return position, value, digits


@njit(cache=True, nogil=True)
def _diagnose(data, start, fault, column, num_columns):  # type: ignore[no-untyped-def]
    """What is worst about a bad row: returns the byte after its newline, the fault, and its column or its count of columns."""
    position, tabs, nuls = start, 0, 0
    while data[position] != NEWLINE:
        tabs += data[position] == TAB
        nuls += data[position] == NUL
        position += 1
    if nuls:
        return position + 1, Fault.NUL_BYTE, 0
    if position - start > MAX_LINE_BYTES:
        return position + 1, Fault.TOO_LONG, 0
    if tabs + 1 != num_columns:
        return position + 1, Fault.COLUMN_COUNT, tabs + 1
    return position + 1, fault, column
