"""Tables whose day stands in a column: the right rows on the right day, in bounded work, and the same after a kill."""

from __future__ import annotations

import datetime
import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import inputs, split, table_files
from data_prep.errors import DataError
from data_prep.inputs import find_logs
from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.shards import Manifest, open_manifest, open_part
from data_prep.table_format import TableFormat
from data_prep.table_schema import CsvLayout, DayRule, SparseColumn, TableSchema
from data_prep.verify import verify

FIRST = datetime.date(2024, 3, 1)
SECOND_OF_FIRST = 1709251200


def table(rule: DayRule) -> TableSchema:
    return TableSchema("y", (), {"id": SparseColumn(type="integer", buckets=1 << 20)}, day=rule)


def run(folder: Path, out: Path, rule: DayRule, pattern: str = "*", max_bad_share: float = 1, workers: int = 1) -> tuple[Manifest, int]:
    form = TableFormat(table(rule))
    options = PrepareOptions(form.table.schema(2), None, part_rows=8, max_bad_share=max_bad_share, format=form)
    return prepare(out, form.days(find_logs([f"{folder}/{pattern}"]), out, workers), options, workers)


def ids_by_day(out: Path) -> dict[int, list[int]]:
    """The keys of each day's rows, in order."""
    return {
        day.day: [int(value) - 1 for part in day.parts for value in open_part(out, part).sparse[:, 0]] for day in open_manifest(out).days
    }


def days_in_order(numbers: Sequence[int], days: Sequence[int]) -> dict[int, list[int]]:
    return {day: [number for number, its in zip(numbers, days, strict=True) if its == day] for day in sorted(set(days))}


@settings(max_examples=25, deadline=None)
@given(days=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=40), min_size=1, max_size=3), block=st.sampled_from([64, 1 << 22]))
def test_rows_go_to_their_day_in_order(days: list[list[int]], block: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("split")
    number = 0
    for place, of_file in enumerate(days):
        rows = [f"{number + at},1,{SECOND_OF_FIRST + 86400 * day + 86399 * (at % 2)}" for at, day in enumerate(of_file)]
        (folder / f"{place}.csv").write_text("\n".join(["id,y,time", *rows]))
        number += len(of_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "BLOCK_BYTES", block)
        manifest, made = run(folder, folder / "out", DayRule(column="time", format="seconds", first=FIRST), "*.csv")
    flat = [day for of_file in days for day in of_file]
    assert ids_by_day(folder / "out") == days_in_order(range(number), flat)
    assert made == len(manifest.days) == len(set(flat))
    assert verify(folder / "out")[1] == []
    assert not (folder / "out/.work").exists()


TIMES = [
    ("iso", ["2024-03-01", "2024-03-01 23:59:59.999", "2024-03-02T00:00:00Z", "2024-03-02T01:00:00+02:00"], [0, 0, 1, 0]),
    ("iso", ["2024-03-01 23:59:59.123456789", "2024-03-02T00:00:00.000000001Z", "2024-03-02"], [0, 1, 1]),
    ("seconds", ["1709251200", "1709337599.5", "1709337600"], [0, 0, 1]),
    ("milliseconds", ["1709251200000", "1709337599999", "1709337600000"], [0, 0, 1]),
    ("%d/%m/%Y %H", ["01/03/2024 23", "02/03/2024 00"], [0, 1]),
    ("%y%m%d%H", ["24030123", "24030200"], [0, 1]),
]


@pytest.mark.parametrize(("form", "times", "days"), TIMES)
def test_every_way_to_write_a_time(form: str, times: list[str], days: list[int], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,y,t\n" + "".join(f"{at},0,{time}\n" for at, time in enumerate(times)))
    run(tmp_path, tmp_path / "out", DayRule(column="t", format=form, first=FIRST), "a.csv")
    assert ids_by_day(tmp_path / "out") == days_in_order(range(len(times)), days)


def test_days_may_begin_at_another_hour(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,y,t\n0,1,2024-03-02 04:59:59\n1,1,2024-03-02 05:00:00\n")
    run(tmp_path, tmp_path / "out", DayRule(column="t", first=datetime.datetime(2024, 3, 1, 5)), "a.csv")
    assert ids_by_day(tmp_path / "out") == {0: [0], 1: [1]}


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime.date(2024, 3, 1), datetime.date(2024, 3, 3)]),
        pa.array([datetime.datetime(2024, 3, 1, 23), datetime.datetime(2024, 3, 3)], pa.timestamp("ns")),
        pa.array([datetime.datetime(2024, 3, 1, 23), datetime.datetime(2024, 3, 3)], pa.timestamp("ms", "Europe/Paris")),
        pa.array(["2024-03-01", "2024-03-03T12:00:00Z"], pa.large_string()),
        pa.array([1709251200 * 10**9 + 1, 1709424000 * 10**9 + 999], pa.timestamp("ns")),
    ],
    ids=["date", "timestamp", "zoned", "text", "nanoseconds"],
)
def test_parquet_times(times: pa.Array, tmp_path: Path) -> None:
    pa_parquet.write_table(pa.table({"id": [0, 1], "y": [0, 1], "t": times}), tmp_path / "a.parquet")
    run(tmp_path, tmp_path / "out", DayRule(column="t", first=FIRST), "a.parquet")
    assert ids_by_day(tmp_path / "out") == {0: [0], 2: [1]}


def test_parquet_integers_spell_a_time_as_csv_does(tmp_path: Path) -> None:
    times = pa.array([24030123, 24030300], pa.int64())
    pa_parquet.write_table(pa.table({"id": [0, 1], "y": [0, 1], "t": times}), tmp_path / "a.parquet")
    run(tmp_path, tmp_path / "out", DayRule(column="t", format="%y%m%d%H", first=FIRST), "a.parquet")
    assert ids_by_day(tmp_path / "out") == {0: [0], 2: [1]}


def test_an_integer_that_lost_its_leading_zero_is_no_other_day(tmp_path: Path) -> None:
    """1032024, for 1 March, would be read as the 10th."""
    times = pa.array([1032024, 11032024], pa.int64())
    pa_parquet.write_table(pa.table({"id": [0, 1], "y": [0, 1], "t": times}), tmp_path / "a.parquet")
    manifest, _ = run(tmp_path, tmp_path / "out", DayRule(column="t", format="%d%m%Y", first=FIRST), "a.parquet")
    assert [(day.day, day.rows, day.bad_rows) for day in manifest.days] == [(10, 1, 1)]


def test_a_bad_row_with_nanoseconds_is_quoted(tmp_path: Path) -> None:
    times = pa.array([1709251200 * 10**9 + 1, 1709251200 * 10**9 + 1], pa.timestamp("ns"))
    pa_parquet.write_table(pa.table({"id": [0, 1], "y": [7, 1], "t": times}), tmp_path / "a.parquet")
    manifest, _ = run(tmp_path, tmp_path / "out", DayRule(column="t", first=FIRST), "a.parquet")
    assert manifest.days[0].bad_rows == 1


@pytest.mark.parametrize(
    ("form", "good", "unreal"),
    [
        ("%d/%m/%Y", ["29/02/2024", "1/3/2024", "30/04/2024"], ["31/02/2024", "30/02/2024", "31/04/2024"]),
        ("%Y%m%d", ["20240301"], ["20240231"]),
        ("%d/%b/%Y %H %z", ["30/Apr/2024 01 +0500", "01/May/2024 23 -0500"], ["31/Apr/2024 01 +0500", "31/Apr/2024 23 -0500"]),
    ],
)
def test_a_day_that_its_month_has_not_is_no_day_of_the_next(form: str, good: list[str], unreal: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,y,t\n" + "".join(f"{at},0,{time}\n" for at, time in enumerate(good + unreal)))
    manifest, _ = run(tmp_path, tmp_path / "out", DayRule(column="t", format=form, first=datetime.date(2024, 2, 1)), "a.csv")
    assert sorted(number for ids in ids_by_day(tmp_path / "out").values() for number in ids) == list(range(len(good)))
    assert sum(day.bad_rows for day in manifest.days) == len(unreal)


def test_a_time_that_python_does_not_know_is_a_bad_row(tmp_path: Path) -> None:
    times = pa.array([1709251200, 10**12], pa.timestamp("s"))
    pa_parquet.write_table(pa.table({"id": [0, 1], "y": [1, 1], "t": times}), tmp_path / "a.parquet")
    manifest, _ = run(tmp_path, tmp_path / "out", DayRule(column="t", first=FIRST), "a.parquet")
    assert [(day.rows, day.bad_rows) for day in manifest.days] == [(1, 1)]


def test_columns_of_categories_are_divided_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row group has a dictionary of its own."""
    monkeypatch.setattr(table_files, "PARQUET_ROWS", 1)
    groups = [
        pa.table({"id": pa.array([name]).dictionary_encode(), "y": [0], "t": [f"2024-03-0{day}"]})
        for name, day in (("7", 1), ("8", 2), ("9", 1))
    ]
    with pa_parquet.ParquetWriter(tmp_path / "a.parquet", groups[0].schema) as file:
        for group in groups:
            file.write_table(group)
    run(tmp_path, tmp_path / "out", DayRule(column="t", first=FIRST), "a.parquet")
    assert ids_by_day(tmp_path / "out") == {0: [7, 9], 1: [8]}


@pytest.mark.parametrize("block", [1, 20, 40, 64, 1 << 22])
def test_lines_without_a_day_are_bad_on_the_day_before_them(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", block)
    lines = [
        "id,y,t",
        "x",  # before any day: that of the first row
        "1,0,2024-03-02",
        "2,0,soon",
        "3,0,2024-03-04",
        "4,0,",
        "5,0,2024-02-29",
        "6,0",
        "7,0,2034-03-04",
        "8,5,2024-03-04",  # its day is known, its label is not
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    manifest, _ = run(tmp_path, tmp_path / "out", DayRule(column="t", first=FIRST, days=30), "a.csv")
    assert [(day.day, day.rows, day.bad_rows) for day in manifest.days] == [(1, 1, 2), (3, 1, 5)]
    read = [json.loads(line) for day in (1, 3) for line in (tmp_path / f"out/day=0{day}/quarantine.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in read] == [("a.csv", number) for number in (2, 4, 6, 7, 8, 9, 10)]
    assert [row["reason"] for row in read][1] == "t is not a time as the schema's day.format = 'iso' has it"
    assert [row["reason"] for row in read][3] == "t lies before day 0, 2024-03-01, or after day 29"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,y,t\n1,0,soon\n", "a.csv: no line has a day; line 2: t is not a time"),
        ("id,y,t\n1,0,1709251200\n", "no line has a day; line 2: t is not a time"),
        ("id,y\n1,0\n", "has no column 't'"),
        ("", "a.csv is empty"),
        ("id,y,t\n", "no row in .*a.csv: name files that hold some"),
        ("id,y,t\n" + "".join(f"{day},0,{FIRST + datetime.timedelta(day)}\n" for day in range(4)), "a.csv has rows of more than 3 days"),
    ],
)
def test_a_log_that_cannot_be_divided_is_one_line(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "MAX_DAYS_A_LOG", 3)
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        run(tmp_path, tmp_path / "out", DayRule(column="t", first=FIRST), "a.csv")
    assert not list((tmp_path / "out").glob(".work/split/*/day=*"))


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two logs of three days each, of which they share two."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for place in (0, 1):
        rows = [f"{100 * place + at},{at % 2},{FIRST + datetime.timedelta(place + at % 3)}" for at in range(60)]
        (folder / f"{place}.csv").write_text("\n".join(["id,y,t", *rows]))
    return folder


RULE = DayRule(column="t", first=FIRST)


def test_a_finished_run_does_nothing_and_new_logs_add_days(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert run(logs, out, RULE)[1] == 4
    before = {path: path.read_bytes() for path in out.rglob("*.npy")}
    with monkeypatch.context() as patch:
        patch.setattr(split, "split_log", None)
        assert run(logs, out, RULE)[1] == 0
    (logs / "2.csv").write_text("id,y,t\n7,1,2024-03-09\n")
    assert run(logs, out, RULE, "2.csv")[1] == 1
    assert run(logs, out, RULE)[1] == 0
    assert ids_by_day(out)[8] == [7]
    assert before == {path: path.read_bytes() for path in before}
    (logs / "3.csv").write_text("id,y,t\n7,1,2024-03-02\n")
    with pytest.raises(DataError, match=r"day=01 was made from 0.csv of [\d,]+ bytes, 1.csv"):
        run(logs, out, RULE)


def test_an_interrupted_run_goes_on_and_gives_the_same_shards(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(logs, whole, RULE)
    real, done = split.split_log, []

    def second_fails(task: split.SplitTask, report: object) -> list[int]:
        done.append(task.log.path.name)
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        return real(task, report)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(split, "split_log", second_fails)
        with pytest.raises(OSError, match="No space left"):
            run(logs, broken, RULE)
    assert not (broken / "manifest.json").exists()
    assert run(logs, broken, RULE)[1] == 4
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(broken) for path in broken.rglob("*") if path.is_file())
    assert all((whole / file).read_bytes() == (broken / file).read_bytes() for file in files)


def test_a_day_that_was_deleted_is_made_again(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(logs, out, RULE)
    expected = ids_by_day(out)
    shutil.rmtree(out / "day=02")
    assert run(logs, out, RULE)[1] == 1
    assert ids_by_day(out) == expected


def test_what_the_schema_said_wrongly_before_is_divided_anew(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="are bad"):
        run(logs, out, DayRule(column="t", first=FIRST, days=2), max_bad_share=0.1)
    run(logs, out, RULE, max_bad_share=0.1)
    assert {day: len(ids) for day, ids in ids_by_day(out).items()} == {0: 20, 1: 40, 2: 40, 3: 20}


def test_other_names_of_the_columns_are_not_taken_for_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,5,0,2024-03-01\n")
    (tmp_path / "b.csv").write_text("6,2,0,2024-03-02\n")

    def prepared(columns: str, pattern: str) -> list[list[int]]:
        ids = {name: SparseColumn(type="integer", buckets=100) for name in "ij"}
        form = TableFormat(TableSchema("y", (), ids, day=RULE, csv=CsvLayout(columns=tuple(columns))))
        options = PrepareOptions(form.table.schema(2), None, part_rows=8, max_bad_share=1, format=form)
        manifest, _ = prepare(tmp_path / "out", form.days(find_logs([f"{tmp_path}/{pattern}"]), tmp_path / "out", 1), options, 1)
        return [(open_part(tmp_path / "out", part).sparse[0] - 1).tolist() for day in manifest.days for part in day.parts]

    assert prepared("ijyt", "a.csv") == [[1, 5]]
    with pytest.raises(DataError, match=r"day=00 was made under other csv\.columns .* delete .*day=00"):
        prepared("jiyt", "a.csv")
    assert prepared("jiyt", "b.csv") == [[1, 5], [2, 6]]


def test_a_log_is_not_divided_where_there_is_no_room_for_it(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(split, "require_free", lambda folder, needed: asked.append(needed))
    size = (logs / "0.csv").stat().st_size
    (logs / "0.csv.gz").write_bytes(gzip.compress((logs / "0.csv").read_bytes()))
    run(logs, tmp_path / "plain", RULE, "0.csv")
    run(logs, tmp_path / "compressed", RULE, "0.csv.gz")
    assert asked == [1.5 * size, 1.5 * 2.5 * (logs / "0.csv.gz").stat().st_size]


def test_workers_give_the_same_shards(logs: Path, tmp_path: Path) -> None:
    run(logs, tmp_path / "one", RULE)
    run(logs, tmp_path / "two", RULE, workers=2)
    assert open_manifest(tmp_path / "one") == open_manifest(tmp_path / "two")


def test_the_share_of_bad_rows_is_of_the_days_own_lines(tmp_path: Path) -> None:
    lines = [f"{at},1,2024-03-0{1 + at // 90}" for at in range(99)] + ["100,9,2024-03-02"]
    (tmp_path / "a.csv").write_text("\n".join(["id,y,t", *lines]))
    with pytest.raises(DataError, match=r"1 of 10 rows are bad \(10 %"):
        run(tmp_path, tmp_path / "out", RULE, "a.csv", max_bad_share=0.05)


def test_a_log_read_in_any_order_costs_one_reading_each_way(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many days a log has, its bytes are read once, and the rows it held once more."""
    read: list[str] = []
    opened = table_files.open_table

    def counted(path: Path, table: TableSchema) -> table_files.TableFile:
        read.append(path.parent.name)
        return opened(path, table)

    monkeypatch.setattr(table_files, "open_table", counted)
    run(logs, tmp_path / "out", RULE)
    assert sorted(read) == sorted(["raw", "raw", *(f"day=0{place + at}" for place in (0, 1) for at in range(3))])
    assert sum(len(ids) for ids in ids_by_day(tmp_path / "out").values()) == 120
