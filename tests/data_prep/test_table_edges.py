"""Where Arrow and people differ about a table: quotes beside carriage returns, integers of many digits, columns of two types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from data_prep import tables
from data_prep.table_schema import TableSchema
from tests.data_prep.test_tables import HEADER, read, rows_of


def test_integers_beyond_the_digits_of_a_float_are_numbers_in_both(tmp_path: Path) -> None:
    table = TableSchema("y", ("ns",), dense_transform="none")
    times = [1709251200 * 10**9 + 1, None, -(2**60) - 1]
    (tmp_path / "a.csv").write_text("y,ns\n" + "".join(f"1,{'' if time is None else time}\n" for time in times))
    pa_parquet.write_table(pa.table({"y": [1, 1, 1], "ns": pa.array(times, pa.int64())}), tmp_path / "a.parquet")
    (ours,), none, _ = read(tmp_path / "a.parquet", table)
    (theirs,), _, _ = read(tmp_path / "a.csv", table)
    assert ours.dense.tolist() == theirs.dense.tolist() == [[np.float32(1709251200 * 10**9)], [0], [-np.float32(2**60)]]
    assert not none


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        ([str((1 << 63) + at) for at in range(1000)], (pa.int64(), pa.uint64())),
        (["2024-03-01T00:00:00Z"] * 1000, (pa.timestamp("us"), pa.timestamp("us", "UTC"))),
    ],
)
def test_a_batch_of_the_second_type_is_cast_as_a_whole(
    cells: list[str], kinds: tuple[pa.DataType, pa.DataType], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    whole = tables.cast_or_null

    def counted(part: pa.Array, *kinds: pa.DataType) -> pa.Array:
        calls.append(len(part))
        return whole(part, *kinds)

    monkeypatch.setattr(tables, "cast_or_null", counted)
    assert counted(pa.array(cells), *kinds).null_count == 0
    assert calls == [1000]
    assert counted(pa.array([*cells, "x"]), *kinds).null_count == 1
    assert len(calls) < 40


def test_a_carriage_return_does_not_hide_a_quote_left_open(tmp_path: Path) -> None:
    """One makes a row more, the other a row fewer."""
    lines = [HEADER, '1,2,3,"a\rb",f,,', "1,2,3,a\rb,f,,", '0,2,6,"a,f,,', '0,2,8,a",f,,', "1,2,4,b,f,,"]
    (tmp_path / "a.csv").write_bytes("\n".join(lines).encode())
    parts, bad, _ = read(tmp_path / "a.csv")
    assert [row.line for row in bad] == [2, 3]
    assert [row[2][0] for row in rows_of(parts)] == [4, 9, 5]
