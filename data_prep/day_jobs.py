"""The two things done to one day, each whole or not at all: its keys counted, and its shards written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.atomic import whole_folder, write_json
from data_prep.categorical import ModuloEncoder
from data_prep.dense_transform import dense_transform
from data_prep.errors import DataError
from data_prep.inputs import DaySource, local_log
from data_prep.key_counts import KeyCounter
from data_prep.options import PrepareOptions
from data_prep.part_writer import PartWriter
from data_prep.pool import Report
from data_prep.quarantine import Quarantine
from data_prep.shards import FORMAT_VERSION, DayEntry, PartEntry, day_folder, read_json
from data_prep.sources import BadRow, Encoding, KeyBlock, RowBlock, RowSource
from data_prep.vocabulary import column_file
from data_prep.work_folder import counts_folder, work_folder

DAY_FILE = "day.json"
COUNTS_FILE = "counts.json"
QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True)
class DayTask:
    """One day's logs to turn into one day folder under `root`, by `threads`; `index` holds the vocabulary's hash tables."""

    source: DaySource
    root: Path
    options: PrepareOptions
    index: tuple[Path, ...] = ()
    threads: int = 1

    @property
    def kept_quarantine(self) -> Path:
        """Where the bad rows of a day are kept when there are too many of them for the day to be made."""
        return self.root / f"quarantine-{day_folder(self.source.day)}.jsonl"


def count_day(task: DayTask, report: Report) -> None:
    """Tally the keys of a day, for the vocabulary, into the work folder. Raises DataError for an unusable log."""
    options, folder = task.options, counts_folder(task.root, task.source.day)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # What cells become does not matter here: only their keys are asked for.
    encoding = Encoding(options.schema, ModuloEncoder(options.schema), dense_transform(options.dense))
    with whole_folder(folder, work_folder(task.root)) as temporary:
        counter = KeyCounter(temporary, [column_file(feature.name) for feature in options.schema.categorical], task.threads)
        reading = _Reading(task, temporary, report)

        def count(block: KeyBlock) -> None:
            counter.add(block.keys)
            reading.took(block.bad, block.lines)

        for source in reading.sources(encoding):
            source.keys(count)
        reading.end()
        counter.close()
        write_json(temporary / COUNTS_FILE, _counts_record(task.source, options))


def is_counted(root: Path, source: DaySource, options: PrepareOptions) -> bool:
    """Whether the keys of this day have been tallied, from the files that are there now."""
    path = counts_folder(root, source.day) / COUNTS_FILE
    return path.exists() and read_json(path) == _counts_record(source, options)


def _counts_record(source: DaySource, options: PrepareOptions) -> dict[str, Any]:
    columns = [feature.name for feature in options.schema.categorical]
    return {"source": source_record(source, options), "input": dict(options.format.parameters), "columns": columns}


def prepare_day(task: DayTask, report: Report) -> DayEntry:
    """Write one day's folder. Raises DataError for an unusable log."""
    name = day_folder(task.source.day)
    task.kept_quarantine.unlink(missing_ok=True)
    with whole_folder(task.root / name, work_folder(task.root)) as folder:
        reading = _Reading(task, folder, report)
        parts = _write_parts(task, folder, reading)
        bad = reading.quarantine.by_fault
        rows, positives = sum(part.rows for part in parts), sum(part.positives for part in parts)
        entry = DayEntry(task.source.day, rows, positives, tuple(parts), bad.total())
        record = {
            "format_version": FORMAT_VERSION,
            "day": asdict(entry),
            "bad_rows_by_fault": dict(sorted(bad.items())),
            "source": source_record(task.source, task.options),
            "schema": task.options.schema.to_json(),
            "parameters": task.options.parameters,
        }
        write_json(folder / DAY_FILE, record)
    return entry


def _write_parts(task: DayTask, folder: Path, reading: _Reading) -> list[PartEntry]:
    with PartWriter(folder, day_folder(task.source.day), task.options.part_rows) as writer:

        def write(block: RowBlock) -> None:
            writer.append(block.rows)
            reading.took(block.bad, block.lines)

        for source in reading.sources(task.options.encoding(task.index)):
            source.rows(write)
        reading.end()
        return writer.finish()


class _Reading:
    """The files of a day in turn, what was bad in them, and how far along it is."""

    def __init__(self, task: DayTask, folder: Path, report: Report) -> None:
        self._task = task
        self._folder = folder
        self._report = report
        self._bytes_before = 0
        self._source: RowSource | None = None
        self.quarantine = Quarantine(folder / QUARANTINE)

    def sources(self, encoding: Encoding) -> Iterator[RowSource]:
        """Each file opened; a remote one is fetched into the day's folder for as long as it is read."""
        for file in self._task.source.files:
            self.quarantine.begin(self._task.source.named(file))
            with (
                local_log(file, self._folder) as local,
                self._task.options.format.open(local, self._task.source.day, encoding, self._task.threads) as self._source,
            ):
                yield self._source
            self._bytes_before += file.size

    def took(self, bad: Sequence[BadRow], lines: int) -> None:
        """The next lines were read, these of them bad. Raises DataError when there is no point in going on."""
        assert self._source is not None
        self.quarantine.add(bad, lines)
        self._report(self._bytes_before + self._source.position, self.quarantine.lines)
        self._check(finished=False)

    def end(self) -> None:
        """All was read. Raises DataError when too much of it was bad, or nothing good."""
        self._check(finished=True)
        if self.quarantine.count == self.quarantine.lines:
            raise DataError(f"{self._task.source} holds no usable row: leave it out, or fetch it again")

    def _check(self, finished: bool) -> None:
        self.quarantine.check(self._task.options.max_bad_share, self._task.kept_quarantine, finished)


def source_record(source: DaySource, options: PrepareOptions) -> list[dict[str, Any]]:
    """The files as the records of days name them, to tell whether others stand there now, or are read otherwise."""
    columns = {"columns": list(options.format.header)} if options.format.header else {}
    return [{"name": file.path.name, "bytes": file.size, **columns} for file in source.origin]
