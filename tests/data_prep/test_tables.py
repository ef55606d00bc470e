"""Tables to arrays, against what plain Python makes of the same cells; CSV and Parquet alike; bad rows with line and reason."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import inputs, table_files
from data_prep.categorical import ModuloEncoder
from data_prep.dense_transform import dense_transform
from data_prep.errors import DataError
from data_prep.shards import Part
from data_prep.sources import BadRow, Encoding, RowBlock
from data_prep.table_files import open_table
from data_prep.table_format import TableFormat, day_of_name
from data_prep.table_schema import CsvLayout, DayRule, SequenceColumn, SparseColumn, TableSchema
from data_prep.tables import TableRows
from data_prep.text_hash import hash_texts, parse_hex

BUCKETS = 1000
TABLE = TableSchema(
    "clicked",
    ("price",),
    {"user": SparseColumn(type="integer"), "city": SparseColumn(), "device": SparseColumn(type="hex", buckets=77)},
    {"history": SequenceColumn(3, type="integer"), "tags": SequenceColumn(2, separator=";", keep="first")},
)
HEADER = "clicked,price,user,city,device,history,tags"
XXH64 = {b"": 0xEF46DB3751D8E999, b"a": 0xD24EC4F1A98C6E5B, b"abc": 0x44BC2CF5AD770999, bytes(range(100)): 0x6AC1E58032166597}


def read(path: Path, table: TableSchema = TABLE) -> tuple[list[Part], list[BadRow], int]:
    """All blocks of a file, the bad rows with their lines counted from 0 in the file, and how many lines there were."""
    schema = table.schema(BUCKETS)
    encoding = Encoding(schema, ModuloEncoder(schema), dense_transform(table.dense_transform))
    blocks: list[Part] = []
    bad: list[BadRow] = []
    lines = 0

    def use(block: RowBlock) -> None:
        nonlocal lines
        blocks.append(block.rows)
        bad.extend(BadRow(lines + it.line, it.fault, it.reason, it.text) for it in block.bad)
        lines += block.lines

    with TableRows(open_table(path, table), table, encoding) as source:
        source.rows(use)
        assert 0 <= source.position <= path.stat().st_size
    return blocks, bad, lines


def rows_of(parts: Sequence[Part]) -> list[tuple[Any, ...]]:
    """One tuple a row: label, dense, sparse, and the list of each jagged column."""
    rows: list[tuple[Any, ...]] = []
    for part in parts:
        lists = [[j.values[a:b].tolist() for a, b in zip(j.offsets, j.offsets[1:], strict=False)] for j in part.jagged.values()]
        rows += zip(part.label[:, 0].tolist(), part.dense.tolist(), part.sparse.tolist(), *lists, strict=True)
    return rows


def text_key(text: str) -> int:
    data = text.encode()
    return int(hash_texts(np.frombuffer(data, np.uint8), np.array([0, len(data)], np.int32))[0])


def identity(key: int | None, buckets: int) -> int:
    return 0 if key is None else 1 + key % 2**64 % (buckets - 1)


Row = tuple[int, float | None, int | None, str | None, int | None, list[int | None] | None, list[str] | None]


def expected(row: Row) -> tuple[Any, ...]:
    """What a row should become, worked out cell by cell."""
    label, price, user, city, device, history, tags = row
    dense = [float(np.float32(math.log1p(max(price or 0.0, 0.0))))]
    sparse = [identity(user, BUCKETS), identity(None if city is None else text_key(city), BUCKETS), identity(device, 77)]
    return (
        label,
        dense,
        sparse,
        [identity(it, BUCKETS) for it in (history or [])[-3:]],
        [identity(text_key(it), BUCKETS) for it in (tags or [])[:2]],
    )


word = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0;|"), min_size=1, max_size=40)
table_row = st.tuples(
    st.integers(0, 1),
    st.none() | st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
    st.none() | st.integers(-(2**63), 2**64 - 1),
    st.none() | word,
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.lists(st.none() | st.integers(0, 10**9), min_size=1, max_size=6).filter(lambda ids: ids != [None]),
    st.none() | st.lists(word, min_size=1, max_size=4),
)


def csv_text(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER.split(","))
    for label, price, user, city, device, history, tags in rows:
        ids = None if history is None else "|".join("" if it is None else str(it) for it in history)
        writer.writerow(
            [label, price, user, city, None if device is None else f"{device:x}", ids, None if tags is None else ";".join(tags)]
        )
    return out.getvalue()


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(table_row, max_size=30), block=st.sampled_from([64, 500, 1 << 22]), suffix=st.sampled_from(["", ".gz", ".zst"]))
def test_csv_becomes_what_plain_python_says(rows: list[Row], block: int, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("table") / f"day_0.csv{suffix}"
    pack: Any = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    path.write_bytes(pack(csv_text(rows).encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "BLOCK_BYTES", block)
        parts, bad, lines = read(path)
    assert bad == []
    assert rows_of(parts) == [expected(row) for row in rows]
    assert lines == len(rows)


def parquet(rows: Sequence[Row], path: Path, wide: bool) -> None:
    """The same rows, typed; `wide`: large and dictionary types, as pandas and polars write them."""
    label, price, user, city, device, history, tags = zip(*rows, strict=True) if rows else ((),) * 7
    text = pa.large_string() if wide else pa.string()
    lists = pa.large_list if wide else pa.list_
    columns = {
        "clicked": pa.array(label, pa.int8()).cast(pa.bool_() if wide else pa.int8()),
        "price": pa.array(price, pa.float64()),
        "user": pa.array(user, pa.int64()),
        "unread": pa.array(["x"] * len(rows)),
        "city": pa.array(city, pa.string()).dictionary_encode() if wide else pa.array(city, text),
        "device": pa.array([None if it is None else f"{it:X}" for it in device], text),
        "history": pa.array(history, lists(pa.int64())),
        "tags": pa.array(tags, lists(text)),
    }
    pa_parquet.write_table(pa.table(columns), path, row_group_size=5)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(table_row, max_size=30), wide=st.booleans())
def test_parquet_gives_what_csv_gives(rows: list[Row], wide: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [(*row[:2], None if row[2] is None else row[2] % 2**63, *row[3:]) for row in rows]
    path = tmp_path_factory.mktemp("table") / "day_0"
    parquet(rows, path, wide)
    parts, bad, lines = read(path)
    assert bad == []
    assert rows_of(parts) == [expected(row) for row in rows]
    assert lines == len(rows)


def test_an_integer_column_hashed_as_text_is_the_same_in_both(tmp_path: Path) -> None:
    table = TableSchema("y", (), {"user": SparseColumn()}, {"h": SequenceColumn(9)})
    (tmp_path / "a.csv").write_text("y,user,h\n1,12,3|4\n0,,\n")
    columns = {"y": pa.array([1, 0]), "user": pa.array([12, None], pa.int64()), "h": pa.array([[3, 4], None], pa.list_(pa.int32()))}
    pa_parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert rows_of(read(tmp_path / "a.csv", table)[0]) == rows_of(read(tmp_path / "a.parquet", table)[0])


BAD_CELLS = [
    ("2,1,1,a,f,1,x", "LABEL", "label clicked is not 0 or 1"),
    (",1,1,a,f,1,x", "LABEL", "label clicked is not 0 or 1"),
    ("yes,1,1,a,f,1,x", "LABEL", "label clicked is not 0 or 1"),
    ("0.5,1,1,a,f,1,x", "LABEL", "label clicked is not 0 or 1"),
    ("1,cheap,1,a,f,1,x", "NOT_NUMBER", "price is not a number"),
    ("1,nan,1,a,f,1,x", "NOT_FINITE", "price is NaN or infinite"),
    ("1,-inf,1,a,f,1,x", "NOT_FINITE", "price is NaN or infinite"),
    ("1,1,u1,a,f,1,x", "NOT_INTEGER", "user is not an integer of 64 bits"),
    ("1,1,1.5,a,f,1,x", "NOT_INTEGER", "user is not an integer of 64 bits"),
    ("1,1,18446744073709551616,a,f,1,x", "NOT_INTEGER", "user is not an integer of 64 bits"),
    ("1,1,1,a,xyz,1,x", "NOT_HEX", "device is not 1 to 16 hex digits"),
    ("1,1,1,a,12345678901234567,1,x", "NOT_HEX", "device is not 1 to 16 hex digits"),
    ("1,1,1,a,f,1|b|2,x", "NOT_INTEGER", "an id of history is not an integer of 64 bits"),
    ("1,1,1,a,f,1", "COLUMN_COUNT", "6 columns, expected 7"),
    ("1,1,1,a,f,1,x,y", "COLUMN_COUNT", "8 columns, expected 7"),
    ('1,1,1,"a,f,1,x', "QUOTE", "a quote is not closed on its line, or a carriage return stands in it"),
    ('1,1,1,"a",b,f,1,x', "COLUMN_COUNT", "8 columns, expected 7"),
    ('1,1,1,a,f,1,"x', "QUOTE", "a quote is not closed on its line, or a carriage return stands in it"),
    ("", "LABEL", "label clicked is not 0 or 1"),
]


@pytest.mark.parametrize(("line", "fault", "reason"), BAD_CELLS)
@pytest.mark.parametrize("where", ["first", "middle", "last", "unended"])
def test_a_bad_row_is_left_out_with_its_line(line: str, fault: str, reason: str, where: str, tmp_path: Path) -> None:
    good = ["1,2,3,rome,ff,4|5,x;y", '0,,,"a ""b"", c",,,', "1,7,8,oslo,0,9,z"]
    at = {"first": 0, "middle": 2, "last": 3, "unended": 3}[where]
    text = "\n".join([HEADER, *good[:at], line, *good[at:]]) + ("" if where == "unended" and line else "\n")
    (tmp_path / "bad.csv").write_text(text)
    (tmp_path / "good.csv").write_text("\n".join([HEADER, *good]) + "\n")
    parts, bad, lines = read(tmp_path / "bad.csv")
    assert [(row.line, row.fault.name, row.reason) for row in bad] == [(at + 1, fault, reason)]
    assert lines == 4
    assert rows_of(parts) == rows_of(read(tmp_path / "good.csv")[0])


def test_a_sequence_of_another_type_is_no_empty_list(tmp_path: Path) -> None:
    table = TableSchema("y", (), {}, {"h": SequenceColumn(9)})
    vectors = pa.array([{"size": 3}, None], pa.struct([("size", pa.int32())]))
    pa_parquet.write_table(pa.table({"y": pa.array([1, 0]), "h": vectors}), tmp_path / "t.parquet")
    _, bad, _ = read(tmp_path / "t.parquet", table)
    assert [(row.line, row.fault.name, row.reason) for row in bad] == [(0, "NOT_KEY", "h is not a list or a text")]


def test_a_list_spelled_as_missing_is_empty_in_both(tmp_path: Path) -> None:
    table = TableSchema("y", (), {}, {"h": SequenceColumn(9)})
    (tmp_path / "a.csv").write_text("y,h\n1,a|b\n0,\n")
    pa_parquet.write_table(pa.table({"y": pa.array([1, 0]), "h": pa.array(["a|b", ""])}), tmp_path / "a.parquet")
    assert rows_of(read(tmp_path / "a.csv", table)[0]) == rows_of(read(tmp_path / "a.parquet", table)[0])


def test_parquet_rows_that_are_wrong(tmp_path: Path) -> None:
    table = TableSchema("y", ("x",), {"k": SparseColumn(type="integer")}, dense_transform="none")
    columns = {
        "y": pa.array([1, 2, 0, None, 1, 0], pa.int32()),
        "x": pa.array([1.5, 0, float("nan"), 0, 1e300, 2], pa.float64()),
        "k": pa.array([1.0, 2, 3, 4, 5, 6.5], pa.float64()),
    }
    pa_parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    parts, bad, _ = read(tmp_path / "t.parquet", table)
    assert [(row.line, row.fault.name) for row in bad] == [
        (1, "LABEL"),
        (2, "NOT_FINITE"),
        (3, "LABEL"),
        (4, "NOT_FINITE"),
        (5, "NOT_INTEGER"),
    ]
    assert bad[3].reason == "x does not fit in 32 bits"
    assert bad[0].text == "2,0.0,2.0"
    assert rows_of(parts) == [(1, [1.5], [2])]


def test_a_line_beyond_the_limit_is_bad_and_the_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "MAX_LINE_BYTES", 100)
    long = f"1,1,1,{'a' * 200},f,1,x"
    (tmp_path / "t.csv").write_text("\n".join([HEADER, "1,1,1,a,f,1,x", long, "0,1,1,a,f,1,x", long, long]))
    parts, bad, lines = read(tmp_path / "t.csv")
    assert [(row.line, row.fault.name) for row in bad] == [(2, "TOO_LONG"), (4, "TOO_LONG"), (5, "TOO_LONG")]
    assert [row[0] for row in rows_of(parts)] == [1, 0]
    assert lines == 5


def arrow_file() -> bytes:
    table, out = pa.table({"clicked": [0, 1]}), pa.BufferOutputStream()
    with pa.ipc.new_file(out, table.schema) as file:
        file.write_table(table)
    data: bytes = out.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv.gz", gzip.compress(b""), "holds nothing once decompressed"),
        ("a.csv", b"clicked,prise,user,city,device,history,tags\n", "has no column 'price', which the schema names: did you mean 'prise'"),
        ("a.csv", b"clicked,price,price,user,city,device,history,tags\n", "has two columns 'price'"),
        ("a.csv.gz", gzip.compress(HEADER.encode() + b"\n" + b"1,1,1,a,f,1,x\n" * 999)[:-20], "damaged or cut off"),
        ("a.csv.zst", zstandard.compress(HEADER.encode() + b"\n" + b"1,1,1,a,f,1,x\n" * 999)[:-20], "damaged or cut off"),
        ("a.parquet", b"PAR1" + b"\0" * 100, "a.parquet is damaged or cut off"),
        ("a.csv", b'"clicked,price\n', "its first line is no header"),
        ("a.arrow", b"ARROW1\0\0 and no more", "a.arrow is a damaged Arrow file"),
        ("a.arrow", arrow_file(), "a.arrow is an Arrow file: write its table as Parquet or CSV"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_parquet_cut_or_damaged_inside_is_one_line(tmp_path: Path) -> None:
    rows: list[Row] = [(1, float(i), i, f"city {i}", i, [i], [str(i)]) for i in range(2000)]
    parquet(rows, tmp_path / "whole", wide=False)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-100])
    with pytest.raises(DataError, match="cut is damaged or cut off"):
        read(tmp_path / "cut")
    (tmp_path / "holed").write_bytes(data[:4] + b"\xff" * 3000 + data[3004:])
    with pytest.raises(DataError, match="holed is damaged after row"):
        read(tmp_path / "holed")


def test_layout_of_csv(tmp_path: Path) -> None:
    layout = CsvLayout(delimiter="\t", quote="", missing=("", "NULL", "nan"), columns=("y", "x", "c"))
    table = TableSchema("y", ("x",), {"c": SparseColumn()}, csv=layout)
    (tmp_path / "t.tsv").write_text('1\tNULL\t"a\n0\tnan\tNULL\r\n')
    parts, bad, _ = read(tmp_path / "t.tsv", table)
    assert bad == []
    assert rows_of(parts) == [(1, [0.0], [identity(text_key('"a'), BUCKETS)]), (0, [0.0], [0])]


def test_a_byte_order_mark_and_columns_in_any_order(tmp_path: Path) -> None:
    table = TableSchema("y", ("x",), {"c": SparseColumn(type="integer")})
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfc,other,x,y\r\n5,z,0,1\r\n")
    assert rows_of(read(tmp_path / "t.csv", table)[0]) == [(1, [0.0], [6])]


lines = st.lists(
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b" ")) | st.sampled_from([line.encode() for line, _, _ in BAD_CELLS]),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(junk=lines, place=st.integers(0, 12))
def test_junk_never_changes_the_good_rows_nor_gives_a_traceback(
    junk: list[bytes], place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("junk") / "t.csv"
    good = b"1,41,42,good,ff,4|5,x"
    path.write_bytes(b"\n".join([HEADER.encode(), *junk[:place], good, *junk[place:], b""]))
    parts, bad, lines = read(path)
    assert lines == len(junk) + 1
    assert len(bad) + sum(part.rows for part in parts) == lines
    assert expected((1, 41, 42, "good", 255, [4, 5], ["x"])) in rows_of(parts)
    assert min(place, len(junk)) + 1 not in [row.line for row in bad]


@pytest.mark.parametrize(("text", "value"), XXH64.items())
def test_texts_are_hashed_by_xxh64(text: bytes, value: int) -> None:
    padded = np.frombuffer(b"x" + text, np.uint8)
    assert hash_texts(padded, np.array([1, len(text) + 1], np.int32)).tolist() == [value]


@given(st.lists(st.integers(0, 2**64 - 1) | st.sampled_from(["", "g", "12 ", "0" * 17]), max_size=20))
def test_hex_digits_are_parsed(values: list[int | str]) -> None:
    texts = [f"{value:x}" if isinstance(value, int) else value for value in values]
    data, ends = "".join(texts).encode(), np.cumsum([0, *map(len, texts)])
    found, bad = parse_hex(np.frombuffer(data, np.uint8), ends.astype(np.int32))
    assert bad.tolist() == [isinstance(value, str) for value in values]
    assert found[~bad].tolist() == [value for value in values if isinstance(value, int)]


@pytest.mark.parametrize(
    ("rule", "name", "day"),
    [
        (DayRule(), "day_3.csv.gz", 3),
        (DayRule(pattern=r"part-(\d+)"), "part-07.parquet", 7),
        (DayRule(files={"train": 0, "test": 2}), "test.csv.gz", 2),
        (DayRule(pattern=r"(\d{4}-\d\d-\d\d)", first=datetime.date(2024, 2, 28)), "clicks-2024-03-01.csv", 2),
        (DayRule(pattern=r"(\d{8})", first=datetime.date(2024, 2, 28)), "clicks-20240228.csv", 0),
    ],
)
def test_the_day_of_a_name(rule: DayRule, name: str, day: int) -> None:
    assert day_of_name(name, rule) == day


@pytest.mark.parametrize(
    ("rule", "name", "message"),
    [
        (DayRule(), "train.csv", "no day in its name"),
        (DayRule(files={"train": 0}), "valid.csv", "day.files has train; add 'valid'"),
        (DayRule(pattern=r"-(\w+)"), "a-b.csv", "its day 'b' is not a number"),
        (DayRule(pattern=r"clicks(?:_(\d+))?"), "clicks.csv", "no day in its name"),
        (DayRule(pattern=r"-(\w+)", first=datetime.date(2024, 2, 28)), "a-20241399.csv", "is not a date"),
        (DayRule(pattern=r"-(\w+)", first=datetime.date(2024, 2, 28)), "a-20240227.csv", "is day -1, counted from"),
    ],
)
def test_a_name_that_is_no_days(rule: DayRule, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        day_of_name(name, rule)


def test_the_manifest_records_what_the_ids_depend_on() -> None:
    assert TableFormat(TABLE).parameters == {
        "input": "table",
        "key_type": "string",
        "columns": {
            "user": {"type": "integer"},
            "device": {"type": "hex"},
            "history": {"max_length": 3, "type": "integer"},
            "tags": {"max_length": 2, "separator": ";", "keep": "first"},
        },
    }
