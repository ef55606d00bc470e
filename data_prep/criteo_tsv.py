"""Criteo TSV to arrays: a byte-level parser that checks every cell, compiled. Importing this loads numba.

A row is `label \\t 13 integers \\t 26 hex ids`, ended by \\n or \\r\\n; an empty cell is missing. What it becomes:

- dense: log(1 + max(x, 0)) as float32, 0 when missing;
- sparse: 0 when missing, else 1 + id mod (rows of the table - 1);
- label: 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_prep.schema import Schema
from data_prep.shards import Part

MAX_LINE_BYTES = 1 << 16
MAX_BAD_ROWS_A_CALL = 1024
MAX_QUOTED_BYTES = 200

NUL, TAB, NEWLINE, RETURN, MINUS, ZERO, NINE = 0, 9, 10, 13, 45, 48, 57
NOT_HEX = 255
MAX_HEX_DIGITS = 8
INT32_MAX = (1 << 31) - 1


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


@dataclass(frozen=True)
class BadRow:
    """A row left out: its line counted from 0 within the block, why, and how it begins."""

    line: int
    fault: Fault
    reason: str
    text: str


def _hex_values() -> NDArray[np.uint8]:
    values = np.full(256, NOT_HEX, np.uint8)
    for digit, character in enumerate("0123456789abcdef"):
        values[ord(character)] = values[ord(character.upper())] = digit
    return values


HEX_VALUES = _hex_values()
LOG_TABLE = np.log1p(np.arange(4096)).astype(np.float32)


class RowParser:
    """Parses blocks of whole lines into the rows of a part."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._moduli = np.array([feature.num_embeddings - 1 for feature in schema.sparse], np.uint32)
        self._found = np.empty((MAX_BAD_ROWS_A_CALL, 4), np.int64)

    def parse(self, block: bytes, start: int, part: Part, row: int) -> tuple[int, int, int, list[BadRow]]:
        """Fill `part` from `row` on with the lines of `block` from byte `start` on; the block ends in a newline.

        Stops at the end of the block, when the part is full, or when many rows were bad. Returns the byte and the row
        it came to, the lines it read, and the bad rows among them.
        """
        data = np.frombuffer(block, np.uint8)
        end, row, lines, count = _parse(data, start, part.dense, part.sparse, part.label, row, self._moduli, self._found)
        return end, row, lines, [self._describe(block, *found) for found in self._found[:count].tolist()]

    def _describe(self, block: bytes, line: int, start: int, fault: int, detail: int) -> BadRow:
        text = block[start : min(block.index(b"\n", start), start + MAX_QUOTED_BYTES)]
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
                return f"{detail} columns, expected {1 + len(dense) + len(sparse)}"
            case Fault.LABEL:
                return "label is not 0 or 1"
            case Fault.NOT_INTEGER:
                return f"{dense[detail - 1]} is not an integer"
            case Fault.INTEGER_RANGE:
                return f"{dense[detail - 1]} does not fit in 32 bits"
            case _:
                return f"{sparse[detail - 1 - len(dense)].name} is not 1 to {MAX_HEX_DIGITS} hex digits"


@njit(cache=True)
def _parse(data, position, dense, sparse, label, row, moduli, bad):  # type: ignore[no-untyped-def]
    lines = count = 0
    while position < data.shape[0] and row < label.shape[0] and count < bad.shape[0]:
        start = position
        position, fault, column = _parse_row(data, position, dense[row], sparse[row], label[row], moduli)
        if fault == Fault.NONE:
            row += 1
        else:
            end, fault, detail = _diagnose(data, start, fault, column, 1 + dense.shape[1] + sparse.shape[1])
            bad[count, 0], bad[count, 1], bad[count, 2], bad[count, 3] = lines, start, fault, detail
            count += 1
            position = end
        lines += 1
    return position, row, lines, count


@njit(cache=True)
def _parse_row(data, position, dense, sparse, label, moduli):  # type: ignore[no-untyped-def]
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
        dense[column] = LOG_TABLE[value] if value < LOG_TABLE.shape[0] else np.log1p(np.float64(value))
    for column in range(sparse.shape[0]):
        if data[position] != TAB:
            return position, Fault.NOT_INTEGER if column == 0 else Fault.NOT_HEX, dense.shape[0] + column
        position, value, digits = _parse_hex(data, position + 1)
        if digits > MAX_HEX_DIGITS:
            return position, Fault.NOT_HEX, dense.shape[0] + column + 1
        sparse[column] = 1 + value % moduli[column] if digits else 0
    if data[position] == RETURN:
        position += 1
    if data[position] != NEWLINE:
        return position, Fault.NOT_HEX, dense.shape[0] + sparse.shape[0]
    return position + 1, Fault.NONE, 0


@njit(cache=True)
def _parse_integer(data, position):  # type: ignore[no-untyped-def]
    """Returns the byte after the digits, max(value, 0), and a fault if there is one; an empty cell is 0."""
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
    return position, 0 if negative else value, Fault.NONE


@njit(cache=True)
def _parse_hex(data, position):  # type: ignore[no-untyped-def]
    """Returns the byte after the digits, their value, and how many there were."""
    value = np.uint32(0)
    digits = 0
    digit = HEX_VALUES[data[position]]
    while digit != NOT_HEX:
        value = (value << np.uint32(4)) | np.uint32(digit)
        digits += 1
        position += 1
        digit = HEX_VALUES[data[position]]
    return position, value, digits


@njit(cache=True)
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
