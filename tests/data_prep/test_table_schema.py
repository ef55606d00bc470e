"""The schema TOML of a table: what it means, and one line for each mistake."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path

import pytest

from data_prep.errors import DataError
from data_prep.schema import JaggedFeature, Schema, SparseFeature
from data_prep.table_schema import TableSchema, load_table_schema

CLICKS = """
label = "clicked"
dense = ["price"]
buckets = 100

[sparse]
user = { buckets = 1000, type = "integer" }
country = {}

[sequence]
history = { max_length = 5, buckets = 50 }

[day]
column = "time"
format = "seconds"
first = 2024-03-01
"""


def load(text: str, folder: Path) -> TableSchema:
    path = folder / "clicks.toml"
    path.write_text(text)
    return load_table_schema(path)


def test_columns_and_defaults(tmp_path: Path) -> None:
    table = load(CLICKS, tmp_path)
    assert table.schema(7) == Schema(
        "clicked", ("price",), (SparseFeature("user", 1000), SparseFeature("country", 100)), (JaggedFeature("history", 50, 5),)
    )
    assert table.columns == ("clicked", "price", "user", "country", "history", "time")
    assert [table.key_type(column) for column in table.sparse.values()] == ["integer", "string"]
    assert (table.dense_transform, table.csv.delimiter, table.sequence["history"].keep) == ("log1p", ",", "last")
    assert pickle.loads(pickle.dumps(table)) == table


def test_sparse_columns_may_be_a_mere_list(tmp_path: Path) -> None:
    table = load('label = "y"\nsparse = ["a", "b"]\n', tmp_path)
    assert [feature.name for feature in table.schema(7).sparse] == ["a", "b"]
    assert table.schema(7).sparse[0].num_embeddings == 7


@pytest.mark.parametrize(
    ("first", "second"),
    [("2024-03-01", 1709251200), ("2024-03-01T05:00:00Z", 1709269200), ("2024-03-01T05:00:00+05:00", 1709251200), ("1970-01-01", 0)],
)
def test_day_zero_begins_where_first_says_in_utc(first: str, second: int, tmp_path: Path) -> None:
    table = load(CLICKS.replace("2024-03-01", first), tmp_path)
    assert isinstance(table.day.first, datetime.date)
    assert table.day.first_second == second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label", "is not valid TOML"),
        ('dense = ["a"]', "label is missing: add it"),
        ("label = 3", "label = 3: Input should be a valid string"),
        ('label = "y"', "no column beside the label"),
        ('label = "y"\ndens = ["a"]', "unknown key dens; did you mean dense?"),
        ('label = "y"\n[[sparse]]\na = 1', "sparse = [{'a': 1}]"),
        ('label = "y"\n[sparse]\na = {bucket = 3}', "unknown key sparse.a.bucket; did you mean sparse.a.buckets?"),
        ('label = "y"\n[sparse]\na = {buckets = "3"}', "sparse.a.buckets = '3': Input should be a valid integer"),
        ('label = "y"\n[sparse]\na = {buckets = 1}', "a: buckets = 1: at least 2 are needed"),
        ('label = "y"\n[sparse]\na = {type = "int"}', "sparse.a.type = 'int': Input should be 'string', 'integer' or 'hex'"),
        ('label = "y"\n[sequence]\na = {}', "sequence.a.max_length is missing: add it"),
        ('label = "y"\n[sequence]\na = {max_length = 0}', "sequence.a: max_length = 0: must be above 0"),
        ('label = "y"\n[sequence]\na = {max_length = 2, separator = ""}', "sequence.a: separator is empty"),
        ('label = "y"\n[sequence]\n"a b" = {max_length = 2}', "sequence column 'a b': its name becomes a file's"),
        ('label = "y"\ndense = ["y"]', "column 'y' is named twice"),
        ('label = "y"\ndense = ["a"]\ndense_transform = "log2"', "'log2': did you mean log1p?"),
        ('label = "y"\ndense = ["a"]\n[day]\ncolumn = "d"', "day: first is missing: write the date that is day 0"),
        ('label = "y"\ndense = ["a"]\n[day]\nformat = "weeks"', "day: format = 'weeks': write iso"),
        ('label = "y"\ndense = ["a"]\n[day]\npattern = "a(b"', "day: pattern = 'a(b' is not a regular expression"),
        ('label = "y"\ndense = ["a"]\n[day]\npattern = "ab"', "day: pattern = 'ab' has 0 groups"),
        ('label = "y"\ndense = ["a"]\n[day]\nfiles = {train = -1}', "day: days are counted from 0"),
        ('label = "y"\ndense = ["a"]\n[day]\nfiles = {train = 1}\ncolumn = "d"\nfirst = 2024-03-01', "day: files and column both say"),
        ('label = "y"\ndense = ["a"]\n[csv]\ndelimiter = "ab"', "csv: delimiter = 'ab'"),
        ('label = "y"\ndense = ["a"]\n[csv]\nseparator = ","', "unknown key csv.separator; known here: delimiter"),
    ],
)
def test_each_mistake_has_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(text, tmp_path)
    assert str(error.value).startswith(str(tmp_path / "clicks.toml"))
    assert message in str(error.value)
    assert "\n" not in message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the schema .*no\.toml: No such file"):
        load_table_schema(tmp_path / "no.toml")
