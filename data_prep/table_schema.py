"""What a table of one's own looks like, as typed dataclasses read from one TOML: columns, their kinds, and where the day stands.

label = "clicked"
dense = ["price", "age"]
buckets = 100_000                       # ids of each categorical column, unless it says otherwise

[sparse]
user = { buckets = 1_000_000 }
country = {}

[sequence]
history = { separator = "|", max_length = 50 }

[day]
column = "time"
format = "seconds"
first = 2024-03-01                      # day 0, UTC
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_prep.dense_transform import dense_transform
from data_prep.errors import DataError
from data_prep.schema import JaggedFeature, Schema, SparseFeature
from data_prep.typed_toml import read_toml, typed

KeyType = Literal["string", "integer", "hex"]
"""How a cell becomes a key: the 64-bit hash of its text, its value as a decimal integer, or as a hexadecimal one."""


@dataclass(frozen=True)
class SparseColumn:
    """One id a row. Missing cells have id 0; `buckets` and `type` default to the table's own."""

    buckets: int | None = None
    type: KeyType | None = None


@dataclass(frozen=True)
class SequenceColumn:
    """A list of ids a row, cut to its `keep` (first or last) `max_length` ids. `separator` stands between them in a text cell."""

    max_length: int
    separator: str = "|"
    keep: Literal["first", "last"] = "last"
    buckets: int | None = None
    type: KeyType | None = None

    def __post_init__(self) -> None:
        if not self.separator:
            raise ValueError("separator is empty: name the text that stands between two ids")
        if self.max_length < 1:
            raise ValueError(f"max_length = {self.max_length}: must be above 0")


@dataclass(frozen=True)
class CsvLayout:
    """How CSV files are written; Parquet needs none of it. `columns` names the columns of files without a header line."""

    delimiter: str = ","
    quote: str = '"'
    """Empty: quotes are ordinary characters."""
    missing: tuple[str, ...] = ("",)
    """Spellings of a missing cell."""
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or len(self.quote) > 1 or not (self.delimiter + self.quote).isascii():
            raise ValueError(f"delimiter = {self.delimiter!r}, quote = {self.quote!r}: one ASCII character each")


@dataclass(frozen=True)
class DayRule:
    """Where a row's day stands: in the file's name (`files`, `pattern`), or in a `column`.

    `files` maps names, up to their first dot, to days. `pattern` is a regular expression with one group: the day's number, or
    a date when `first` is given. `format` of a column: `iso` (dates or timestamps, UTC where no zone is named), `seconds` or
    `milliseconds` since 1970, or a strptime pattern. Day 0 begins at `first` (UTC); later ones every 24 hours.
    """

    files: Mapping[str, int] = field(default_factory=dict)
    pattern: str = r"day[=_-]?(\d+)"
    column: str = ""
    format: str = "iso"
    first: datetime.datetime | datetime.date | None = None
    days: int = 10_000
    """Rows of later days are bad ones."""

    def __post_init__(self) -> None:
        if self.column and self.first is None:
            raise ValueError("first is missing: write the date that is day 0, for example first = 2024-03-01")
        if self.format not in ("iso", "seconds", "milliseconds") and "%" not in self.format:
            raise ValueError(f"format = {self.format!r}: write iso, seconds, milliseconds, or a pattern such as %d/%m/%Y")
        if self.column and self.files:
            raise ValueError("files and column both say where the day stands: keep one of them")
        if min([0, *self.files.values()]) < 0 or self.days < 1:
            raise ValueError("days are counted from 0, and there is at least one")
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f"pattern = {self.pattern!r} is not a regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"pattern = {self.pattern!r} has {groups} groups: put the day, and only it, in parentheses")

    @property
    def first_second(self) -> int:
        """Seconds from 1970 to the beginning of day 0."""
        first = self.first or datetime.date(1970, 1, 1)
        if not isinstance(first, datetime.datetime):
            first = datetime.datetime(first.year, first.month, first.day)
        return int((first if first.tzinfo else first.replace(tzinfo=datetime.UTC)).timestamp())


@dataclass(frozen=True)
class TableSchema:
    """A table: which columns are what. Columns it does not name are not read."""

    label: str
    dense: tuple[str, ...] = ()
    sparse: Mapping[str, SparseColumn] = field(default_factory=dict)
    sequence: Mapping[str, SequenceColumn] = field(default_factory=dict)
    day: DayRule = field(default_factory=DayRule)
    csv: CsvLayout = field(default_factory=CsvLayout)
    dense_transform: str = "log1p"
    buckets: int | None = None
    """Of every categorical column that does not say itself; None leaves it to whoever asks for the schema."""
    type: KeyType = "string"

    def __post_init__(self) -> None:
        columns = (self.label, *self.dense, *self.sparse, *self.sequence)
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} is named twice: a column is the label, dense, sparse or a sequence")
        if len(columns) == 1:
            raise ValueError("no column beside the label: name some under dense, sparse or sequence")
        try:
            features = self.schema(buckets=2).categorical
            dense_transform(self.dense_transform)
        except DataError as error:
            raise ValueError(str(error)) from error
        for feature in features:
            if feature.num_embeddings < 2:
                few = f"{feature.name}: buckets = {feature.num_embeddings}"
                raise ValueError(f"{few}: at least 2 are needed, one for missing cells and one for ids")
        if any(column.separator == self.csv.delimiter and not self.csv.quote for column in self.sequence.values()):
            raise ValueError("a sequence's separator is the delimiter of columns: choose another, or quote the cells")

    def schema(self, buckets: int) -> Schema:
        """The columns as models know them, in the order of the TOML; `buckets` of those for which it says nothing."""
        default = buckets if self.buckets is None else self.buckets
        sparse = tuple(SparseFeature(name, _or(column.buckets, default)) for name, column in self.sparse.items())
        jagged = tuple(JaggedFeature(name, _or(column.buckets, default), column.max_length) for name, column in self.sequence.items())
        return Schema(self.label, self.dense, sparse, jagged)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        return tuple(dict.fromkeys(filter(None, (self.label, *self.dense, *self.sparse, *self.sequence, self.day.column))))

    def key_type(self, column: SparseColumn | SequenceColumn) -> KeyType:
        return column.type or self.type


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def load_table_schema(path: str | Path) -> TableSchema:
    """Read a schema TOML. Raises DataError, one line, for a missing or malformed file, an unknown key or a bad value."""
    raw = read_toml(Path(path), "schema", "docs/your-data.md", DataError)
    names = raw.get("sparse")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        raw["sparse"] = {name: {} for name in names}
    return typed(raw, TableSchema, str(path), DataError)
