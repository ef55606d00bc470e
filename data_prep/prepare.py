"""Raw logs to shards: one job a day, each in bounded memory and whole or not at all, and the manifest over all of them.

`prepare` does all of it on one machine. `data_prep.stages` does it piece by piece, for a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.day_jobs import COUNTS_FILE, DAY_FILE, DayTask, count_day, is_counted, prepare_day, source_record
from data_prep.disk import require_free
from data_prep.errors import DataError
from data_prep.inputs import DaySource
from data_prep.lock import exclusive
from data_prep.options import FREQUENCY, PrepareOptions
from data_prep.pool import run_tasks
from data_prep.progress import Progress
from data_prep.shards import MANIFEST, DayEntry, Manifest, day_folder, read_json, write_manifest
from data_prep.vocabulary import (
    VOCABULARY,
    Vocabulary,
    adopt_vocabulary,
    ensure_index,
    make_vocabulary,
    open_vocabulary,
    vocabulary_faults,
)
from data_prep.work_folder import counts_folder, remove_counts, remove_unfinished, remove_work, work_folder

__all__ = ["PrepareOptions", "prepare"]

SHARD_BYTES_PER_RAW_BYTE = 0.8
UNSAID_BY_DEFAULT = ("csv", "columns", "day")
"""What a table's parameters leave out where its schema says nothing of it; all others are there whatever they are."""


def prepare(root: Path, sources: Sequence[DaySource], options: PrepareOptions, workers: int) -> tuple[Manifest, int]:
    """Turn each source into a day folder and write the manifest over all days in `root`; returns it, and how many days were new.

    Days that are finished stay as they are. Raises DataError when `root` holds shards made with other parameters or
    from other files, when the disk is too small, or when a log is unusable.
    """
    with exclusive(root):
        remove_unfinished(root)
        try:
            require_same(root, options)
            options = _with_vocabulary(root, sources, options, workers)
            made = _write_days(root, sources, options, workers)
        finally:
            remove_unfinished(root)
        manifest = write_whole_manifest(root, options)
        remove_work(root)
    return manifest, made


def require_work(root: Path) -> None:
    """Raise DataError when `root` holds nothing that a run could go on with."""
    signs = (root / MANIFEST, root / VOCABULARY, work_folder(root), *root.glob(f"day=*/{DAY_FILE}"))
    if not any(sign.exists() for sign in signs):
        raise DataError(f"nothing to resume in {root}: leave out --resume to start there, or check --out")


def _with_vocabulary(root: Path, sources: Sequence[DaySource], options: PrepareOptions, workers: int) -> PrepareOptions:
    """The options for the second pass, after the first one if there is need of it."""
    if not options.by_frequency:
        return options
    if options.vocabulary_from is None and not (root / VOCABULARY).exists():
        waiting = [DayTask(source, root, options) for source in sources if not is_counted(root, source, options)]
        _run_days("count", count_day, waiting, workers)
    return settle_vocabulary(root, sources, options, workers)


def _write_days(root: Path, sources: Sequence[DaySource], options: PrepareOptions, workers: int) -> int:
    waiting = waiting_days(root, sources, options)
    require_free(root, sum(map(shard_bytes, waiting)))
    index = index_of(root, options, workers) if waiting else ()
    _run_days("run", prepare_day, [DayTask(source, root, options, index) for source in waiting], workers)
    return len(waiting)


def _run_days(title: str, job: Any, tasks: Sequence[DayTask], workers: int) -> None:
    if not tasks:
        return
    log_format = tasks[0].options.format
    processes, threads = share_out(len(tasks), workers, log_format.threaded)
    tasks = [replace(task, threads=threads) for task in tasks]
    days = [(f"day {task.source.day}", task.source.size) for task in tasks]
    with Progress(title, sum(size for _, size in days), days, in_bytes=True) as progress:
        run_tasks(job, tasks, processes, progress, log_format.preload)


def share_out(days: int, workers: int, threaded: bool) -> tuple[int, int]:
    """In how many processes the days are made, and how many threads each has, so that `workers` cores have work to the end.

    Where threads can read a day, a process has at least two cores: besides parsing there is as much to read, decompress, hash
    and write. There are no more processes than make all rounds of days full.
    """
    if not threaded:
        return min(days, workers), 1
    rounds = -(-days // max(1, workers // 2))
    processes = -(-days // rounds)
    return processes, workers // processes


def settle_vocabulary(root: Path, sources: Sequence[DaySource], options: PrepareOptions, workers: int) -> PrepareOptions:
    """The options with the vocabulary that `root` has, or now gets: the one named, or one of the days that were counted.

    Raises DataError when a day was not counted, or the vocabulary there is damaged, of other parameters or of other days.
    """
    if options.vocabulary_from is not None:
        return options.with_vocabulary(adopt_vocabulary(root, options.vocabulary_from))
    days = {str(source.day): source_record(source, options) for source in sources}
    recipe = Vocabulary(options.threshold, options.buckets, dict(options.format.parameters), days, ())
    if not (root / VOCABULARY).exists():
        for source in sources:
            if not is_counted(root, source, options):
                raise DataError(f"day {source.day} has not been counted yet: {counts_folder(root, source.day) / COUNTS_FILE} is missing")
        counts = [counts_folder(root, source.day) for source in sources]
        vocabulary = make_vocabulary(root, counts, recipe, options.schema, workers)
        remove_counts(root)
        return options.with_vocabulary(vocabulary)
    return options.with_vocabulary(open_same_vocabulary(root, recipe))


def open_same_vocabulary(root: Path, recipe: Vocabulary) -> Vocabulary:
    """The vocabulary in `root`; DataError when it is damaged or was made by another `recipe`, whose days may be fewer."""
    folder = root / VOCABULARY
    vocabulary = open_vocabulary(folder)
    for key in ("threshold", "buckets", "input"):
        there, asked = getattr(vocabulary, key), getattr(recipe, key)
        if there != asked:
            raise DataError(f"{folder} was made with other parameters ({key} {there} there, {asked} asked): choose another --out")
    if new := [day for day in recipe.days if day not in vocabulary.days]:
        counted = f"{folder} was counted over days {', '.join(vocabulary.days)}, and day {new[0]} is new"
        raise DataError(f"{counted}: keep its ids with --vocabulary {folder}, or count anew in another --out")
    if changed := [day for day, files in recipe.days.items() if vocabulary.days[day] != files]:
        raise DataError(f"{folder} was counted over other files of day {changed[0]}: choose another --out, or delete {root}")
    if faults := vocabulary_faults(folder, vocabulary):
        raise DataError(f"{faults[0]}; delete {root} to make everything anew")
    return vocabulary


def index_of(root: Path, options: PrepareOptions, workers: int) -> tuple[Path, ...]:
    """The vocabulary's hash tables, made if they are not there; none with modulo."""
    return () if options.vocabulary is None else tuple(ensure_index(root, options.vocabulary, workers))


def waiting_days(root: Path, sources: Sequence[DaySource], options: PrepareOptions) -> list[DaySource]:
    """Those of `sources` that are not finished. Raises DataError when `root` has days of other parameters or files."""
    finished = require_same(root, options)
    return [source for source in sources if not _same_source(root, source, options, finished)]


def write_whole_manifest(root: Path, options: PrepareOptions) -> Manifest:
    """Write the manifest over all days in `root`, those of earlier runs included."""
    finished = require_same(root, options)
    manifest = Manifest(options.schema, options.parameters, tuple(finished[day] for day in sorted(finished)))
    write_manifest(root, manifest)
    return manifest


def require_same(root: Path, options: PrepareOptions) -> dict[int, DayEntry]:
    """The days that are in `root` already; DataError when something there was made with other parameters."""
    if not options.by_frequency and (root / VOCABULARY).exists():
        _refuse(root / VOCABULARY, _changed({"hash": FREQUENCY}, {"hash": options.hash}), root)
    days, asked = {}, options.record()
    for path in sorted(root.glob(f"day=*/{DAY_FILE}")):
        record = read_json(path)
        if changed := _changed({**record["parameters"], "schema": record["schema"]}, asked):
            _refuse(path.parent, changed, root)
        days[int(record["day"]["day"])] = DayEntry.from_json(record["day"])
    return days


def _changed(there: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, str]:
    """By name, what each parameter that differs is on either side."""
    return {
        key: f"{key} {there.get(key, 'not set')} there, {asked.get(key, 'not set')} asked"
        for key in dict.fromkeys((*asked, *UNSAID_BY_DEFAULT))
        if there.get(key) != asked.get(key)
    }


def _refuse(what: Path, changed: Mapping[str, str], root: Path) -> None:
    told = ", ".join(text for key, text in changed.items() if key != "schema" or len(changed) == 1)
    raise DataError(f"{what} was made with other parameters ({told}): choose another --out, or delete {root}")


def _same_source(root: Path, source: DaySource, options: PrepareOptions, finished: Mapping[int, DayEntry]) -> bool:
    """Whether the day of `source` is finished; DataError when it was made from other files, or under other names of their columns."""
    if source.day not in finished:
        return False
    folder = root / day_folder(source.day)
    made_from = read_json(folder / DAY_FILE)["source"]
    if made_from != (asked := source_record(source, options)):
        if _files(made_from) == _files(asked):
            raise DataError(f"{folder} was made under other csv.columns than the schema names now: delete {folder} to make it again")
        there = ", ".join(f"{file['name']} of {file['bytes']:,} bytes" for file in made_from)
        now = ", ".join(f"{file} has {file.size:,} bytes" for file in source.origin)
        raise DataError(f"{folder} was made from {there}, and {now}: delete {folder} to make it again")
    return True


def _files(record: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    return [(file["name"], file["bytes"]) for file in record]


def shard_bytes(source: DaySource) -> float:
    """About what the day's shards will take on disk."""
    return SHARD_BYTES_PER_RAW_BYTE * sum(file.raw_size for file in source.files)
