"""The day of every row of a table that has it in a column. Importing this loads pyarrow."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pa_compute
from numpy.typing import NDArray

from data_prep.sources import Fault
from data_prep.table_files import Rows
from data_prep.table_format import SECONDS_A_DAY
from data_prep.table_schema import DayRule, TableSchema
from data_prep.tables import Faults, as_text, cast_or_null, nulls, numbers

MICROSECONDS = 1_000_000
NAIVE = pa.timestamp("us")


@dataclass(frozen=True)
class Dated:
    """The rows that have a day, and that day, int64 [R]; those without are among the bad ones of `rows`."""

    rows: Rows
    days: NDArray[np.int64]


def row_days(rows: Rows, table: TableSchema) -> Dated:
    """Find the day of each row."""
    rule, faults = table.day, Faults(rows.cells.num_rows)
    days = _days(rows.cells.column(rule.column), rule)
    faults.mark(np.isnan(days), Fault.NOT_DATE, f"{rule.column} is not a time as the schema's day.format = {rule.format!r} has it")
    faults.mark(
        (days < 0) | (days >= rule.days), Fault.NOT_DATE, f"{rule.column} lies before day 0, {rule.first}, or after day {rule.days - 1}"
    )
    good = faults.good
    if good.all():
        return Dated(rows, days.astype(np.int64))
    bad = sorted((*rows.bad, *faults.bad_rows(rows)), key=lambda row: row.line)
    return Dated(replace(rows, cells=rows.cells.filter(pa.array(good)), lines=rows.lines[good], bad=bad), days[good].astype(np.int64))


def _days(cells: pa.Array, rule: DayRule) -> NDArray[np.float64]:
    """Days since the first, whole numbers as float64 [R]; NaN where a cell is missing or no time."""
    if rule.format in ("seconds", "milliseconds"):
        values, wrong = numbers(cells)
        wrong |= nulls(cells) | ~np.isfinite(values)
        seconds = values if rule.format == "seconds" else values / 1000
    else:
        times = _times(as_text(cells), rule.format)
        wrong = nulls(times)
        seconds = times.cast(pa.int64()).fill_null(0).to_numpy() / MICROSECONDS
    return np.where(wrong, np.nan, np.floor((seconds - rule.first_second) / SECONDS_A_DAY))


def _times(cells: pa.Array, pattern: str) -> pa.Array:
    """timestamp[us] in UTC, null where a cell is none; nanoseconds are cut off."""
    if pattern != "iso" and pa.types.is_integer(cells.type):
        return _spelled_times(cells.cast(pa.string()), pattern)
    if pa.types.is_string(cells.type):
        return _iso_times(cells) if pattern == "iso" else _real_times(cells, pattern)
    if pa.types.is_timestamp(cells.type):
        return cells.cast(NAIVE, safe=False)
    return cast_or_null(cells, NAIVE) if pa.types.is_temporal(cells.type) else pa.nulls(len(cells), NAIVE)


def _real_times(cells: pa.Array, pattern: str) -> pa.Array:
    """Of texts; null for a day that its month has not, which Arrow takes for one of the first three of the next, in its time zone."""
    times = pa_compute.strptime(cells, pattern, "us", error_is_null=True).cast(NAIVE)
    day = pa_compute.day(times)
    suspects = cells.filter(pa_compute.or_(pa_compute.less_equal(day, 4), pa_compute.greater_equal(day, 28))).unique().to_pylist()
    unreal = [text for text in suspects if not _is_real(text, pattern)]
    return pa_compute.if_else(pa_compute.is_in(cells, pa.array(unreal, pa.string())), None, times) if unreal else times


def _is_real(text: str, pattern: str) -> bool:
    """Whether the calendar has the day; Python's word is taken for nothing else, since it does not know all of Arrow's patterns."""
    try:
        datetime.datetime.strptime(text, pattern)
    except ValueError as error:
        return not str(error).startswith("day ")
    return True


def _spelled_times(cells: pa.Array, pattern: str) -> pa.Array:
    """Of integers such as 20240301, which CSV has as text; null where a leading zero was lost, which would be read as another day."""
    times = pa_compute.strptime(cells, pattern, "s", error_is_null=True)
    return pa_compute.if_else(pa_compute.equal(pa_compute.strftime(times, pattern), cells), times, None).cast(NAIVE)


def _iso_times(cells: pa.Array) -> pa.Array:
    """Texts with and without a zone, with microseconds, as most have, and with nanoseconds."""
    others = (pa.timestamp(unit, zone) for unit, zone in (("us", "UTC"), ("ns", None), ("ns", "UTC")))
    return cast_or_null(cells, NAIVE, *others)
