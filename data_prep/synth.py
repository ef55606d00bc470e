"""The synthetic source: real Criteo TSV by day out of a known world, and the best figures any model can reach on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.atomic import write_json
from data_prep.bayes import best_by_order, sigmoid
from data_prep.disk import require_free
from data_prep.errors import DataError
from data_prep.lock import exclusive
from data_prep.planted import DEMO, NAMED_WORLDS, schema_toml
from data_prep.pool import Report, run_tasks
from data_prep.progress import Progress
from data_prep.shards import read_json
from data_prep.wording import counted
from data_prep.world import NUM_ORDERS, WORLD_VERSION, Column, World, generator, make_world

FORMAT_VERSION = 1
TRUTH = "truth.json"
PARAMETERS = "synth.json"
SCHEMA = "schema.toml"
CHUNK_ROWS = 50_000
"""Not a power of two: 39 columns at such a stride would fall on the same cache lines."""
BYTES_PER_ROW = 260


@dataclass(frozen=True)
class SynthParameters:
    """What the files depend on: the world on its name and `seed`, a day's rows on seed, day and `rows_per_day` too."""

    seed: int
    rows_per_day: int
    days: int
    world_version: int = WORLD_VERSION
    world: str = DEMO

    def __post_init__(self) -> None:
        if self.days < 1 or self.rows_per_day < 1 or self.seed < 0:
            given = f"days = {self.days}, rows per day = {self.rows_per_day}, seed = {self.seed}"
            raise DataError(f"{given}: days and rows must be above 0, the seed 0 or more")
        if self.world not in NAMED_WORLDS:
            raise DataError(f"world = {self.world!r}: known are {', '.join(NAMED_WORLDS)}")


@dataclass(frozen=True)
class DayTask:
    """One day to write; `write` is false when its file is there and only the figures are wanted."""

    parameters: SynthParameters
    day: int
    folder: Path
    write: bool

    @property
    def wants_figures(self) -> bool:
        return self.day == self.parameters.days - 1


@dataclass(frozen=True)
class Rows:
    """A chunk of a day: levels int32 [columns, R], logits [orders, R] of the truth up to each order, label [R]."""

    levels: NDArray[np.int32]
    logits: NDArray[np.float64]
    label: NDArray[np.bool_]


def synthesise(folder: Path, parameters: SynthParameters, workers: int) -> dict[str, Any]:
    """Write `day_0`, `day_1`, ... and, last, truth.json to `folder`; returns the truth. Finished days are kept.

    A world of few columns comes with schema.toml, which names them for `data-prep run --schema`.

    Raises DataError when the folder holds other files of this kind, or the disk is too small.
    """
    with exclusive(folder):
        _claim(folder, parameters)
        tasks = [DayTask(parameters, day, folder, write=not day_file(folder, day).exists()) for day in range(parameters.days)]
        require_free(folder, sum(task.write for task in tasks) * parameters.rows_per_day * BYTES_PER_ROW)
        tasks = [task for task in tasks if task.write or task.wants_figures]
        if min(workers, len(tasks)) > 1:
            _compile_kernels()
        with Progress("synth", len(tasks) * parameters.rows_per_day) as progress:
            figures = run_tasks(write_day, tasks, workers, progress)
        truth = _truth(parameters, figures[-1])
        if schema := schema_toml(NAMED_WORLDS[parameters.world]):
            (folder / SCHEMA).write_text(schema, encoding="utf-8")
        write_json(folder / TRUTH, truth)
    return truth


def finished_truth(folder: Path, parameters: SynthParameters) -> dict[str, Any] | None:
    """The truth when everything has been written already, else None. DataError when made with other parameters."""
    _refuse_other(folder, parameters)
    if not (folder / TRUTH).exists() or not all(day_file(folder, day).exists() for day in range(parameters.days)):
        return None
    truth: dict[str, Any] = read_json(folder / TRUTH)
    return truth


def day_file(folder: Path, day: int) -> Path:
    return folder / f"day_{day}"


def day_rows(world: World, parameters: SynthParameters, day: int) -> Iterator[Rows]:
    """The rows of one day in chunks, in the order of the file."""
    from data_prep.level_sampling import LevelSampler

    samplers = [LevelSampler(column.upper_ends(day)) for column in world.columns]
    for chunk, first in enumerate(range(0, parameters.rows_per_day, CHUNK_ROWS)):
        rows = min(CHUNK_ROWS, parameters.rows_per_day - first)
        rng = generator(parameters.seed, "rows", day, chunk)
        levels = np.empty((len(world.columns), rows), np.int32)
        for cells, sampler in zip(levels, samplers, strict=True):
            sampler.fill(rng.random(rows), cells)
        logits = world.logits_by_order(levels, day)
        yield Rows(levels, logits, rng.random(rows) < sigmoid(logits[-1]))


def write_day(task: DayTask, report: Report) -> dict[str, Any]:
    """Write one day's file whole or not at all; returns `best_by_order` for the last day, for others nothing."""
    from data_prep.tsv_format import LevelFormatter

    world = _world(task.parameters.world, task.parameters.seed)
    formatter = LevelFormatter([column.texts() for column in world.columns])
    path = day_file(task.folder, task.day)
    label, logits = [], []
    done = 0
    with _replacing(path) if task.write else nullcontext() as file:
        for rows in day_rows(world, task.parameters, task.day):
            if file is not None:
                file.write(formatter.lines(rows.label, rows.levels).data)
            if task.wants_figures:
                label.append(rows.label)
                logits.append(rows.logits)
            done += len(rows.label)
            report(done, done)
    return _figures(np.concatenate(label), np.concatenate(logits, axis=1)) if task.wants_figures else {}


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file written bit by bit that takes its name only when whole and on disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _figures(label: NDArray[np.bool_], logits: NDArray[np.float64]) -> dict[str, Any]:
    if label.all() or not label.any():
        raise DataError(f"the last day has {counted(len(label), 'row')} of one class only: no AUC can be told; ask for more --rows-per-day")
    return best_by_order(label, logits)


def _compile_kernels() -> None:
    """Fill numba's cache once, before several workers would all compile the same."""
    from data_prep.level_sampling import LevelSampler
    from data_prep.tsv_format import LevelFormatter

    levels = np.zeros((1, 1), np.int32)
    LevelSampler(np.ones(1)).fill(np.zeros(1), levels[0])
    LevelFormatter([[b""]]).lines(np.zeros(1, np.bool_), levels)


@lru_cache(maxsize=1)
def _world(name: str, seed: int) -> World:
    return make_world(seed, NAMED_WORLDS[name])


def _claim(folder: Path, parameters: SynthParameters) -> None:
    """Record the parameters first, so that a run cut off at any point can only be continued with the same ones."""
    _refuse_other(folder, parameters)
    if not (folder / PARAMETERS).exists():
        if day_file(folder, 0).exists():
            raise DataError(f"{folder} holds day files that were not made by `data-prep synth`: choose another --out")
        write_json(folder / PARAMETERS, asdict(parameters))


def _refuse_other(folder: Path, parameters: SynthParameters) -> None:
    if not (folder / PARAMETERS).exists():
        return
    # Folders made before worlds had names are of the only one there was.
    there, asked = {"world": DEMO} | read_json(folder / PARAMETERS), asdict(parameters)
    if there != asked:
        changed = ", ".join(f"{key} {there.get(key)} there, {value} asked" for key, value in asked.items() if there.get(key) != value)
        raise DataError(f"{folder} was made with other parameters ({changed}): choose another --out, or delete it")


def _truth(parameters: SynthParameters, by_order: dict[str, Any]) -> dict[str, Any]:
    world = _world(parameters.world, parameters.seed)
    planted = [
        {
            "order": effect.order,
            "form": effect.planted.form,
            "columns": list(effect.planted.columns),
            "strength": effect.planted.strength,
        }
        for effect in world.effects
    ]
    return {
        "format_version": FORMAT_VERSION,
        **asdict(parameters),
        "bayes": {"day": parameters.days - 1, **by_order[str(NUM_ORDERS)]},
        "bayes_by_order": by_order,
        "planted": planted,
        "columns": [_describe(column) for column in world.columns],
    }


def _describe(column: Column) -> dict[str, Any]:
    levels = {} if column.is_integer else {"cardinality": len(column.values)}
    return {"name": column.name, **levels, "gap_share": column.gap}
