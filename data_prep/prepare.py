"""Raw logs to shards: one job a day, each in bounded memory and whole or not at all, and the manifest over all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json
from data_prep.categorical import MISSING_ID, ModuloEncoder
from data_prep.dense_transform import dense_transform
from data_prep.disk import require_free
from data_prep.errors import DataError
from data_prep.inputs import COMPRESSED_SUFFIXES, DaySource, LogFile
from data_prep.lock import exclusive
from data_prep.pool import Report, run_tasks
from data_prep.progress import Progress
from data_prep.quarantine import Quarantine
from data_prep.schema import Schema
from data_prep.shards import (
    FORMAT_VERSION,
    DayEntry,
    Manifest,
    PartEntry,
    day_folder,
    empty_part,
    read_json,
    write_manifest,
    write_part,
)
from data_prep.sources import CriteoTsv, Encoding, LogFormat

DAY_FILE = "day.json"
QUARANTINE = "quarantine.jsonl"
SHARD_BYTES_PER_RAW_BYTE = 0.8
RAW_BYTES_PER_COMPRESSED_BYTE = 2.5


@dataclass(frozen=True)
class PrepareOptions:
    """What the shards depend on, beside the logs; `max_bad_share` only decides whether there are any."""

    schema: Schema
    buckets: int
    part_rows: int
    max_bad_share: float
    format: LogFormat = field(default_factory=CriteoTsv)
    dense: str = "log1p"

    def __post_init__(self) -> None:
        if self.part_rows < 1:
            raise DataError(f"part rows = {self.part_rows}: must be above 0")
        if not 0 <= self.max_bad_share <= 1:
            raise DataError(f"max bad share = {self.max_bad_share}: must lie in [0, 1]")

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            **self.format.parameters,
            "dense_transform": dense_transform(self.dense).formula,
            "missing_dense": 0,
            "hash": "modulo",
            "buckets": self.buckets,
            "missing_id": MISSING_ID,
            "part_rows": self.part_rows,
        }

    def encoding(self) -> Encoding:
        return Encoding(self.schema, ModuloEncoder(self.schema), dense_transform(self.dense))


@dataclass(frozen=True)
class DayTask:
    """One day's logs to turn into one day folder under `root`."""

    source: DaySource
    root: Path
    options: PrepareOptions


def prepare(root: Path, sources: Sequence[DaySource], options: PrepareOptions, workers: int) -> tuple[Manifest, int]:
    """Turn each source into a day folder and write the manifest over all days in `root`; returns it, and how many days were new.

    Days that are finished stay as they are. Raises DataError when `root` holds shards made with other parameters or
    from other files, when the disk is too small, or when a log is unusable.
    """
    with exclusive(root):
        _remove_unfinished(root)
        finished = _finished_days(root, options)
        waiting = [DayTask(source, root, options) for source in sources if not _same_source(root, source, finished)]
        require_free(root, sum(_shard_bytes(task.source) for task in waiting))
        if min(workers, len(waiting)) > 1:
            options.format.warm_up()
        try:
            with Progress("run", sum(task.source.size for task in waiting)) as progress:
                finished |= {entry.day: entry for entry in run_tasks(prepare_day, waiting, workers, progress)}
        finally:
            _remove_unfinished(root)
        manifest = Manifest(options.schema, options.parameters, tuple(finished[day] for day in sorted(finished)))
        write_manifest(root, manifest)
    return manifest, len(waiting)


def prepare_day(task: DayTask, report: Report) -> DayEntry:
    """Write one day's folder under a temporary name, flushed to disk, and rename it. Raises DataError for an unusable log."""
    name = day_folder(task.source.day)
    kept_quarantine = task.root / f"{QUARANTINE.removesuffix('.jsonl')}-{name}.jsonl"
    kept_quarantine.unlink(missing_ok=True)
    folder = task.root / f".{name}.tmp-{os.getpid()}"
    folder.mkdir()
    quarantine = Quarantine(folder / QUARANTINE)
    parts = _write_parts(task, folder, quarantine, kept_quarantine, report)
    if not parts:
        raise DataError(f"{task.source} holds no usable row: leave it out, or fetch it again")
    entry = DayEntry(
        task.source.day, sum(part.rows for part in parts), sum(part.positives for part in parts), tuple(parts), quarantine.count
    )
    record = {
        "format_version": FORMAT_VERSION,
        "day": asdict(entry),
        "bad_rows_by_fault": dict(sorted(quarantine.by_fault.items())),
        "source": _source_record(task.source),
        "schema": task.options.schema.to_json(),
        "parameters": task.options.parameters,
    }
    write_json(folder / DAY_FILE, record)
    folder.rename(task.root / name)
    _flush_folder(task.root)
    return entry


def _write_parts(task: DayTask, folder: Path, quarantine: Quarantine, kept_quarantine: Path, report: Report) -> list[PartEntry]:
    options, encoding = task.options, task.options.encoding()
    part = empty_part(options.schema, options.part_rows)
    parts: list[PartEntry] = []
    row = bytes_before = 0

    def write(rows: int) -> None:
        name = f"part-{len(parts):05d}"
        parts.append(write_part(folder / name, f"{day_folder(task.source.day)}/{name}", part.head(rows)))

    for file in task.source.files:
        quarantine.begin(file.path)
        with options.format.open(file, task.source.day, encoding) as source:
            ended = False
            while not ended:
                filled = source.fill(part, row)
                row, ended = filled.row, filled.ended
                if row == options.part_rows:
                    write(row)
                    row = 0
                quarantine.add(filled.bad, filled.lines)
                report(bytes_before + source.position, quarantine.lines)
                quarantine.check(options.max_bad_share, kept_quarantine, finished=False)
        bytes_before += file.size
    quarantine.check(options.max_bad_share, kept_quarantine, finished=True)
    if row:
        write(row)
    return parts


def _finished_days(root: Path, options: PrepareOptions) -> dict[int, DayEntry]:
    """The days that are in `root` already; DataError when one was made with other parameters."""
    days = {}
    for path in sorted(root.glob(f"day=*/{DAY_FILE}")):
        record = read_json(path)
        there, asked = {**record["parameters"], "schema": record["schema"]}, {**options.parameters, "schema": options.schema.to_json()}
        if there != asked:
            changed = ", ".join(f"{key} {there.get(key)} there, {value} asked" for key, value in asked.items() if there.get(key) != value)
            raise DataError(f"{path.parent} was made with other parameters ({changed}): choose another --out, or delete {root}")
        days[int(record["day"]["day"])] = DayEntry.from_json(record["day"])
    return days


def _same_source(root: Path, source: DaySource, finished: dict[int, DayEntry]) -> bool:
    """Whether the day of `source` is finished; DataError when it was made from other files."""
    if source.day not in finished:
        return False
    folder = root / day_folder(source.day)
    made_from, asked = read_json(folder / DAY_FILE)["source"], _source_record(source)
    if made_from != asked:
        there = ", ".join(f"{file['name']} of {file['bytes']:,} bytes" for file in made_from)
        now = ", ".join(f"{file.path} has {file.size:,} bytes" for file in source.files)
        raise DataError(f"{folder} was made from {there}, and {now}: delete {folder} to make it again")
    return True


def _source_record(source: DaySource) -> list[dict[str, Any]]:
    return [{"name": file.path.name, "bytes": file.size} for file in source.files]


def _remove_unfinished(root: Path) -> None:
    for folder in root.glob(".day=*.tmp-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _shard_bytes(source: DaySource) -> float:
    """About what the day's shards will take on disk."""
    return SHARD_BYTES_PER_RAW_BYTE * sum(map(_raw_bytes, source.files))


def _raw_bytes(file: LogFile) -> float:
    return file.size * (RAW_BYTES_PER_COMPRESSED_BYTE if file.path.suffix in COMPRESSED_SUFFIXES else 1)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
