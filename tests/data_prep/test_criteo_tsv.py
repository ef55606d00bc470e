"""The compiled parser against a plain Python one, on rows good and bad."""

from __future__ import annotations

import math
import re
from itertools import accumulate
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.categorical import ModuloEncoder
from data_prep.criteo_tsv import MAX_BAD_ROWS_A_CALL, MAX_LINE_BYTES, RowParser
from data_prep.dense_transform import dense_transform
from data_prep.schema import criteo_schema
from data_prep.shards import Part, empty_part
from data_prep.sources import BadRow, Fault

BUCKETS = 1000
SCHEMA = criteo_schema(BUCKETS)
PARSER = RowParser(SCHEMA, ModuloEncoder(SCHEMA), dense_transform("log1p"))

ODD_INTEGERS = ["-", "--1", "1.5", " 1", "1 ", "+1", "2147483648", "-2147483649", "9" * 30, "abc", "0x1", "\r", "1e3"]
EDGE_INTEGERS = ["", "0", "-0", "007", "2147483647", "-2147483648", "4095", "4096"]
ODD_IDS = ["g", "0x1f", "123456789", "-1", " ", "00000000a", "\r", "ab cd"]
EDGE_IDS = ["", "a", "FF", "0000000", "Deadbeef", "ffffffff"]
ODD_LABELS = ["", "2", "01", "-1", "1.0"]


def usual_row(seed: int) -> list[str]:
    """A good row; not drawn cell by cell, which would be slow."""
    rng = Random(seed)
    integers = ["" if rng.random() < 0.2 else str(int(rng.paretovariate(0.3)) % 2**31 - 3) for _ in range(13)]
    ids = ["" if rng.random() < 0.2 else f"{rng.getrandbits(32):08x}" for _ in range(26)]
    return [rng.choice("01"), *integers, *ids]


@st.composite
def lines(draw: st.DrawFn) -> str:
    row = usual_row(draw(st.integers(0, 2**32)))
    for column in draw(st.lists(st.integers(0, 39), max_size=2)):
        choices = ODD_LABELS if column == 0 else ODD_INTEGERS + EDGE_INTEGERS if column < 14 else ODD_IDS + EDGE_IDS
        row[column] = draw(st.sampled_from(choices))
    match draw(st.integers(0, 19)):
        case 0:
            row = row[: draw(st.integers(0, 39))]
        case 1:
            row.append("0000000a")
        case 2:
            row[draw(st.integers(0, 39))] += "\0"
    return "\t".join(row) + draw(st.sampled_from(["", "", "", "\r", "\r\r"]))


Row = tuple[int, list[float], list[int]]


def oracle(line: str) -> Row | Fault:
    """What a line (without its newline) must become, slowly."""
    row = line.removesuffix("\r").split("\t")
    if "\0" in line:
        return Fault.NUL_BYTE
    if len(row) != 40:
        return Fault.COLUMN_COUNT
    if row[0] not in ("0", "1"):
        return Fault.LABEL
    for cell in row[1:14]:
        if not re.fullmatch(r"(-?[0-9]+)?", cell):
            return Fault.NOT_INTEGER
        if cell and not -(2**31) <= int(cell) < 2**31:
            return Fault.INTEGER_RANGE
    if not all(re.fullmatch("[0-9a-fA-F]{0,8}", cell) for cell in row[14:]):
        return Fault.NOT_HEX
    dense = [math.log(1 + max(int(cell), 0)) if cell else 0.0 for cell in row[1:14]]
    sparse = [1 + int(cell, 16) % (BUCKETS - 1) if cell else 0 for cell in row[14:]]
    return int(row[0]), dense, sparse


def parse(text: bytes) -> tuple[Part, list[BadRow]]:
    part = empty_part(SCHEMA, text.count(b"\n") + 1)
    end, row, read, bad = PARSER.parse(text, 0, part, 0)
    assert end == len(text)
    assert read == text.count(b"\n")
    return part.cut(0, row), bad


@settings(max_examples=150, deadline=None)
@given(st.lists(lines(), min_size=1, max_size=8))
def test_agrees_with_plain_python(rows: list[str]) -> None:
    part, bad = parse("".join(f"{row}\n" for row in rows).encode())
    expected = [oracle(row) for row in rows]
    wanted = [row for row in expected if not isinstance(row, Fault)]
    assert [(row.line, row.fault) for row in bad] == [(line, row) for line, row in enumerate(expected) if isinstance(row, Fault)]
    assert part.label[:, 0].tolist() == [row[0] for row in wanted]
    assert part.sparse.tolist() == [row[2] for row in wanted]
    np.testing.assert_allclose(part.dense, np.array([row[1] for row in wanted], np.float32).reshape(-1, 13), rtol=2e-7)
    assert ((part.sparse >= 0) & (part.sparse < BUCKETS)).all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.text("01\t\r-af9", max_size=120).map(str.encode), max_size=5))
def test_any_bytes_are_rows_or_reasons(rows: list[bytes]) -> None:
    text = b"".join(row.replace(b"\n", b"") + b"\n" for row in rows)
    part, bad = parse(text)
    assert part.rows + len(bad) == len(rows)
    assert all(row.reason and "\n" not in row.text for row in bad)


ROW = ["1", *["7"] * 13, *["0000000f"] * 26]


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        (0, "2", "label is not 0 or 1"),
        (3, "x", "I3 is not an integer"),
        (13, "-", "I13 is not an integer"),
        (1, "2147483648", "I1 does not fit in 32 bits"),
        (14, "xyz", "C1 is not 1 to 8 hex digits"),
        (39, "123456789", "C26 is not 1 to 8 hex digits"),
        (20, "a\tb", "41 columns, expected 40"),
        (39, "a\r\r", "C26 is not 1 to 8 hex digits"),
        (39, "a\0", "holds a NUL byte"),
        (5, "9" * MAX_LINE_BYTES, f"longer than {MAX_LINE_BYTES} bytes"),
        (5, "0" * MAX_LINE_BYTES + "7", f"longer than {MAX_LINE_BYTES} bytes"),
    ],
)
def test_the_reason_names_the_column(column: int, cell: str, reason: str) -> None:
    row = "\t".join([*ROW[:column], cell, *ROW[column + 1 :]])
    part, bad = parse(f"{row}\n".encode())
    assert part.rows == 0
    assert [(row.line, row.reason) for row in bad] == [(0, reason)]
    assert len(bad[0].text) <= 203


def test_a_row_by_hand() -> None:
    dense = ["", "0", "-5", "1", "4095", "4096", "2147483647", *["2"] * 6]
    sparse = ["", "0", "000003e7", "ffffffff", *["a"] * 22]
    part, bad = parse(("\t".join(["0", *dense, *sparse]) + "\r\n").encode())
    assert bad == []
    assert part.label.tolist() == [[0]]
    expected = [0, 0, 0, math.log(2), math.log(4096), math.log(4097), 31 * math.log(2), *[math.log(3)] * 6]
    np.testing.assert_allclose(part.dense[0], expected, rtol=1e-7)
    assert part.sparse[0].tolist() == [0, 1, 1, 1 + (2**32 - 1) % 999, *[11] * 22]


def test_stops_at_a_full_part_and_goes_on_from_there() -> None:
    text = "".join("\t".join(["1", str(number), *ROW[2:]]) + "\n" for number in range(10)).encode()
    part, at, seen = empty_part(SCHEMA, 3), 0, []
    while at < len(text):
        at, row, read, bad = PARSER.parse(text, at, part, 0)
        assert (read, bad) == (row, [])
        seen.append(np.rint(np.expm1(part.dense[:row, 0])).tolist())
    assert seen == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_stops_when_many_rows_were_bad_and_loses_none() -> None:
    text, part = b"bad\n" * (2 * MAX_BAD_ROWS_A_CALL + 5), empty_part(SCHEMA, 1)
    at, counts = 0, []
    while at < len(text):
        at, row, _, bad = PARSER.parse(text, at, part, 0)
        assert row == 0
        counts.append(len(bad))
    assert list(accumulate(counts))[-1] == 2 * MAX_BAD_ROWS_A_CALL + 5
    assert max(counts) == MAX_BAD_ROWS_A_CALL
