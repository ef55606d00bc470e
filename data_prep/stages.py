"""`prepare` piece by piece, for jobs on a cluster that share the output's disk: plan, then one job a day, then the merge.

    plan         find the days, divide logs that hold several, check parameters and room
    count        one day: its keys, for a vocabulary; days in any order, any number at once
    vocabulary   add them up, and make the hash tables
    shards       one day: its shards; days in any order, any number at once
    manifest     once all days are there

With modulo, or with a vocabulary given, there is nothing to count; `vocabulary` then only makes the hash tables, if any. Each stage may
be killed and run again, and does nothing when it was done. The plan lies in the work folder, so that all jobs read the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json
from data_prep.day_jobs import DayTask, count_day, is_counted, prepare_day
from data_prep.disk import require_free
from data_prep.errors import DataError
from data_prep.inputs import DaySource, LogFile
from data_prep.lock import exclusive, exclusive_day
from data_prep.options import PrepareOptions
from data_prep.pool import Report
from data_prep.prepare import index_of, require_same, settle_vocabulary, shard_bytes, waiting_days, write_whole_manifest
from data_prep.shards import Manifest, day_folder, read_json
from data_prep.vocabulary import VOCABULARY, is_indexed, open_vocabulary
from data_prep.work_folder import counts_folder, index_folder, remove_unfinished, remove_work, work_folder

PLAN, COUNT, VOCABULARY_STAGE, SHARDS, MANIFEST_STAGE = STAGES = ("plan", "count", "vocabulary", "shards", "manifest")
PLAN_FILE = "plan.json"


def plan(root: Path, logs: Sequence[LogFile], options: PrepareOptions, workers: int) -> tuple[DaySource, ...]:
    """Find the days and write them down; counts and hash tables that do not belong to them are removed.

    Raises DataError as `prepare` does, before anything long has begun.
    """
    sources = options.format.days(logs, root, workers)
    with exclusive(root):
        remove_unfinished(root)
        options = _settled(root, sources, options)
        waiting = waiting_days(root, sources, options) if _is_settled(options) else list(sources)
        require_free(root, sum(map(shard_bytes, waiting)))
        for source in sources:
            if not is_counted(root, source, options):
                shutil.rmtree(counts_folder(root, source.day), ignore_errors=True)
        if not ((root / VOCABULARY).exists() and is_indexed(root)):
            shutil.rmtree(index_folder(root), ignore_errors=True)
        write_json(work_folder(root) / PLAN_FILE, [_source_json(source) for source in sources])
    return sources


def count(root: Path, options: PrepareOptions, day: int, report: Report, threads: int = 1) -> None:
    """Tally the keys of one day of the plan, unless the vocabulary that they are for is there."""
    source = planned_day(root, day)
    if (root / VOCABULARY).exists():
        return
    with exclusive_day(root, _day_lock(root, day)):
        remove_unfinished(root, day)
        if not is_counted(root, source, options):
            count_day(DayTask(source, root, options, threads=threads), report)


def vocabulary(root: Path, options: PrepareOptions, workers: int) -> None:
    """Add up the counts of all days of the plan, and make the hash tables."""
    sources = planned(root)
    with exclusive(root):
        remove_unfinished(root)
        if options.by_frequency:
            index_of(root, settle_vocabulary(root, sources, options, workers), workers)


def shards(root: Path, options: PrepareOptions, day: int, report: Report, threads: int = 1) -> None:
    """Write the shards of one day of the plan. Raises DataError when the vocabulary is not there yet."""
    source = planned_day(root, day)
    with exclusive_day(root, _day_lock(root, day)):
        remove_unfinished(root, day)
        options = _with_vocabulary_there(root, options)
        if options.by_frequency and not is_indexed(root):
            raise DataError(f"the vocabulary in {root} has no hash tables yet: --stage {VOCABULARY_STAGE} makes them")
        if waiting_days(root, [source], options):
            prepare_day(DayTask(source, root, options, index_of(root, options, 1), threads), report)


def manifest(root: Path, options: PrepareOptions) -> Manifest:
    """Write the manifest over all days. Raises DataError when a day of the plan is not there."""
    sources = planned(root)
    with exclusive(root):
        remove_unfinished(root)
        options = _with_vocabulary_there(root, options)
        if waiting := waiting_days(root, sources, options):
            raise DataError(f"{root / day_folder(waiting[0].day)} is not there yet: --stage {SHARDS} --day {waiting[0].day} makes it")
        whole = write_whole_manifest(root, options)
        remove_work(root)
    return whole


def planned(root: Path) -> tuple[DaySource, ...]:
    """The days of the plan; DataError when there is none."""
    try:
        raw = read_json(work_folder(root) / PLAN_FILE)
    except FileNotFoundError:
        raise DataError(f"no plan in {root}: --stage {PLAN} makes it, or it is finished already") from None
    return tuple(DaySource(day["day"], _files(day["files"]), _files(day["made_from"])) for day in raw)


def planned_day(root: Path, day: int) -> DaySource:
    """One day of the plan; DataError listing the others when it is not among them."""
    for source in planned(root):
        if source.day == day:
            return source
    raise DataError(f"day {day} is not in the plan of {root}: it has {', '.join(str(source.day) for source in planned(root))}")


def _source_json(source: DaySource) -> dict[str, Any]:
    def listed(files: Sequence[LogFile]) -> list[dict[str, Any]]:
        return [{"path": str(file.path), "size": file.size, "uri": file.uri} for file in files]

    return {"day": source.day, "files": listed(source.files), "made_from": listed(source.made_from)}


def _files(raw: Sequence[dict[str, Any]]) -> tuple[LogFile, ...]:
    return tuple(LogFile(Path(file["path"]), file["size"], file["uri"]) for file in raw)


def _settled(root: Path, sources: Sequence[DaySource], options: PrepareOptions) -> PrepareOptions:
    """The options with the vocabulary that is there or named; as they are where it has still to be made."""
    require_same(root, options)
    if options.by_frequency and (options.vocabulary_from is not None or (root / VOCABULARY).exists()):
        return settle_vocabulary(root, sources, options, 1)
    return options


def _is_settled(options: PrepareOptions) -> bool:
    return options.vocabulary is not None or not options.by_frequency


def _with_vocabulary_there(root: Path, options: PrepareOptions) -> PrepareOptions:
    """The options with the vocabulary in `root`, whose rules the plan has checked; DataError when it has still to be made."""
    if not options.by_frequency:
        return options
    if not ((root / VOCABULARY).exists()):
        raise DataError(f"no vocabulary in {root} yet: --stage {VOCABULARY_STAGE} makes it, after --stage {COUNT} of each day")
    return replace(options, vocabulary_from=root / VOCABULARY).with_vocabulary(open_vocabulary(root / VOCABULARY))


def _day_lock(root: Path, day: int) -> Path:
    return work_folder(root) / f"{day_folder(day)}.lock"
