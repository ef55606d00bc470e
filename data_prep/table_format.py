"""A table of one's own as a format of logs: light to import, since it goes to every process; pyarrow loads when a file is opened."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data_prep.errors import DataError
from data_prep.inputs import DaySource, LogFile, days_by_name
from data_prep.sources import Encoding, RowSource
from data_prep.table_schema import DayRule, TableSchema

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class TableFormat:
    """CSV and Parquet files whose columns a schema TOML names."""

    table: TableSchema
    threaded = False
    preload = ("data_prep.load_tables",)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the schema TOML says beyond the columns' names and sizes, as plain JSON and without what is as by default.

        Of the day only what decides which row is whose: files by name are in each day's record.
        """
        table, day = self.table, self.table.day
        of_columns = {name: _said(column, ("buckets",)) for name, column in (*table.sparse.items(), *table.sequence.items())}
        kept = {
            "csv": _said(table.csv, ("columns",)),
            "columns": {name: said for name, said in of_columns.items() if said},
            "day": _said(day, ("files", "pattern", "days")) if day.column else {},
        }
        said: dict[str, Any] = {"input": "table", "key_type": table.type, **{name: value for name, value in kept.items() if value}}
        return cast(Mapping[str, Any], json.loads(json.dumps(said, default=str)))

    @property
    def header(self) -> Sequence[str]:
        return self.table.csv.columns

    def days(self, logs: Sequence[LogFile], root: Path, workers: int) -> tuple[DaySource, ...]:
        if self.table.day.column:
            from data_prep.split import split_by_day

            return split_by_day(logs, self, root, workers)
        return days_by_name(logs, lambda name: day_of_name(name, self.table.day))

    def open(self, file: LogFile, day: int, encoding: Encoding, threads: int) -> RowSource:
        from data_prep.table_files import open_table
        from data_prep.tables import TableRows

        return TableRows(open_table(file.path, self.table), self.table, encoding)


def _said(section: Any, but: Collection[str]) -> dict[str, Any]:
    """The fields of a part of the schema that are not as by default."""
    values = {field.name: (getattr(section, field.name), field.default) for field in dataclasses.fields(section) if field.name not in but}
    return {name: value for name, (value, default) in values.items() if value != default}


def day_of_name(name: str, rule: DayRule) -> int:
    """The day that a file's name stands for. Raises DataError when it stands for none."""
    if rule.files:
        bare = name.partition(".")[0]
        if bare not in rule.files:
            raise DataError(f"{name}: the schema's day.files has {', '.join(rule.files)}; add {bare!r}, or leave the file out of --input")
        return rule.files[bare]
    found = re.search(rule.pattern, name)
    if found is None or found[1] is None:
        raise DataError(f"{name}: no day in its name, by the pattern {rule.pattern!r}; say in the schema's [day] where the day stands")
    return _day(found[1], name, rule)


def _day(text: str, name: str, rule: DayRule) -> int:
    try:
        if rule.first is None:
            return int(text)
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        wanted = "a number" if rule.first is None else "a date such as 2024-03-01 or 20240301"
        raise DataError(f"{name}: its day {text!r} is not {wanted}; change the schema's day.pattern") from None
    second = (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()
    day = int((second - rule.first_second) // SECONDS_A_DAY)
    if not 0 <= day < rule.days:
        raise DataError(f"{name}: {text} is day {day}, counted from the schema's day.first; change that, or leave the file out")
    return day
