"""The vocabulary of `--hash frequency`: which key gets which id, by how often it occurs in all days together.

Two steps: `count_day` tallies the keys of one day, days in any order and number of processes; `make_vocabulary` adds the tallies
up. In each column, ids go by falling count from 2 on, equal counts by rising key; 0 is a missing cell, 1 a key that is not in
the vocabulary, for it occurred fewer than `threshold` times or the column's table has no row left for it.

    <root>/vocabulary/vocabulary.json   what it was made from, and of each column its counts and sha256
    <root>/vocabulary/C1.npy            uint64 [N], the keys; key i has the id i + 2

Memory, beside that of `data_prep.key_counts`: about 40 bytes a key that stays in the column, and worker. Such a row's embedding takes
more where it is trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from data_prep.atomic import whole_folder, write_text
from data_prep.categorical import FIRST_VOCABULARY_ID
from data_prep.errors import DataError
from data_prep.key_counts import merged, open_tally
from data_prep.pool import Report, run_tasks
from data_prep.progress import Progress
from data_prep.schema import Schema
from data_prep.shards import read_json, sha256_of
from data_prep.work_folder import index_folder, work_folder

BYTES_WORTH_A_WORKER = 1 << 26
VOCABULARY = "vocabulary"
VOCABULARY_FILE = "vocabulary.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class VocabularyColumn:
    """One column: of `distinct` keys in `cells` cells, `kept` ones, in `cells_kept` cells, have an id of their own."""

    name: str
    kept: int
    distinct: int
    cells: int
    cells_kept: int
    sha256: str


@dataclass(frozen=True)
class Vocabulary:
    """What `vocabulary.json` says. `days` maps a day to the names and sizes of the files it was counted from."""

    threshold: int
    buckets: int | None
    input: Mapping[str, Any]
    days: Mapping[str, Any]
    columns: tuple[VocabularyColumn, ...]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the manifest records of it; `vocabulary` is the sha256 of vocabulary.json."""
        return {"threshold": self.threshold, "buckets": self.buckets, "vocabulary": hashlib.sha256(self.text.encode()).hexdigest()}

    @property
    def text(self) -> str:
        """The record, byte for byte; it holds the digests of the columns, so its own digest stands for the whole vocabulary."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    def sized(self, schema: Schema) -> Schema:
        """`schema` with as many ids a column as the vocabulary has, the two for missing and unknown included."""
        rows = {column.name: FIRST_VOCABULARY_ID + column.kept for column in self.columns}
        return replace(
            schema,
            sparse=tuple(replace(feature, num_embeddings=rows[feature.name]) for feature in schema.sparse),
            jagged=tuple(replace(feature, num_embeddings=rows[feature.name]) for feature in schema.jagged),
        )


def column_file(name: str) -> str:
    """The file of a column, without its ending: the column's name, made fit for a file."""
    return quote(name, safe=" ()[]{}+,;=@")


def open_vocabulary(folder: Path) -> Vocabulary:
    """Read `folder`'s record. Raises DataError when there is none, or one that cannot be used."""
    path = folder / VOCABULARY_FILE
    try:
        raw = read_json(path)
        if raw["format_version"] != FORMAT_VERSION:
            raise DataError(f"{path}: format version {raw['format_version']!r}, this program reads {FORMAT_VERSION}; make it again")
        columns = tuple(VocabularyColumn(**column) for column in raw["columns"])
        return Vocabulary(int(raw["threshold"]), raw["buckets"], raw["input"], raw["days"], columns)
    except FileNotFoundError:
        raise DataError(f"no vocabulary in {folder}: {VOCABULARY_FILE} is missing; `data-prep run --hash frequency` makes one") from None
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is not the record of a vocabulary ({error!r}): delete {folder} to make it again") from error


def vocabulary_faults(folder: Path, vocabulary: Vocabulary) -> list[str]:
    """What is wrong with the files of the columns, a line each."""
    faults = []
    for column in vocabulary.columns:
        path = folder / f"{column_file(column.name)}.npy"
        try:
            if sha256_of(path) != column.sha256:
                faults.append(f"{path}: its sha256 is not that of {VOCABULARY_FILE}")
        except OSError as error:
            faults.append(f"{path}: cannot be read ({error.strerror})")
    return faults


def faults_in_shards(root: Path, parameters: Mapping[str, Any]) -> list[str]:
    """What is wrong with the vocabulary that shards of these `parameters` were made with, a line each; of modulo nothing."""
    if "vocabulary" not in parameters:
        return []
    folder = root / VOCABULARY
    try:
        vocabulary = open_vocabulary(folder)
    except DataError as error:
        return [str(error)]
    if sha256_of(folder / VOCABULARY_FILE) != parameters["vocabulary"]:
        return [f"{folder / VOCABULARY_FILE}: its sha256 is not the manifest's"]
    return vocabulary_faults(folder, vocabulary)


def adopt_vocabulary(root: Path, origin: Path) -> Vocabulary:
    """Copy the vocabulary in `origin` into `root`, unless it is there. Raises DataError when it is damaged, or `root` has another."""
    vocabulary, folder = open_vocabulary(origin), root / VOCABULARY
    if faults := vocabulary_faults(origin, vocabulary):
        raise DataError(f"{faults[0]}: the vocabulary in {origin} is damaged, fetch it again")
    if folder.exists():
        if open_vocabulary(folder) != vocabulary:
            raise DataError(f"{folder} is another vocabulary than {origin}: choose another --out, or delete {root}")
        return vocabulary
    with whole_folder(folder, work_folder(root)) as temporary:
        shutil.copytree(origin, temporary, dirs_exist_ok=True)
    return vocabulary


@dataclass(frozen=True)
class _ColumnTask:
    """Add up one column's tallies into `folder`, keeping keys that occur `threshold` times, at most `rows` of them."""

    name: str
    tallies: tuple[Path, ...]
    folder: Path
    threshold: int
    rows: int

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.tallies)


def make_vocabulary(root: Path, counts: Sequence[Path], recipe: Vocabulary, schema: Schema, workers: int) -> Vocabulary:
    """Add up the folders `counts`, one a day, to `<root>/vocabulary`; `recipe` is the record, still without columns."""
    with whole_folder(root / VOCABULARY, work_folder(root)) as temporary:
        tasks = [
            _ColumnTask(
                feature.name,
                tuple(folder / column_file(feature.name) for folder in counts),
                temporary,
                recipe.threshold,
                feature.num_embeddings - FIRST_VOCABULARY_ID,
            )
            for feature in schema.categorical
        ]
        size = sum(task.size for task in tasks)
        with Progress("vocabulary", size) as progress:
            columns = run_tasks(_make_column, tasks, _worth(size, workers), progress)
        vocabulary = replace(recipe, columns=tuple(columns))
        write_text(temporary / VOCABULARY_FILE, vocabulary.text)
    return vocabulary


def _make_column(task: _ColumnTask, report: Report) -> VocabularyColumn:
    tallies = [open_tally(path) for path in task.tallies]
    kept = np.empty((0, 2), np.uint64)
    held: list[NDArray[np.uint64]] = []
    distinct = cells = read = 0
    for piece in merged(tallies):
        distinct += len(piece)
        cells += int(piece[:, 1].sum())
        held.append(piece[piece[:, 1] >= task.threshold])
        if sum(map(len, held)) > task.rows:
            kept = _most_frequent(np.concatenate([kept, *held]), task.rows)
            held = []
        read += len(piece)
        report(min(16 * read, task.size), 0)
    kept = _most_frequent(np.concatenate([kept, *held]), task.rows)
    by_frequency = kept[np.argsort(~kept[:, 1], kind="stable")]
    path = task.folder / f"{column_file(task.name)}.npy"
    with path.open("xb") as file:
        np.save(file, np.ascontiguousarray(by_frequency[:, 0]))
        file.flush()
        os.fsync(file.fileno())
    return VocabularyColumn(task.name, len(kept), distinct, cells, int(kept[:, 1].sum()), sha256_of(path))


def _worth(size: int, workers: int) -> int:
    """No more workers than there is work for: a process takes a second to start."""
    return min(workers, 1 + size // BYTES_WORTH_A_WORKER)


def _most_frequent(tally: NDArray[np.uint64], rows: int) -> NDArray[np.uint64]:
    """The `rows` entries of the highest count, the lower key where counts are equal, still by rising key."""
    if len(tally) <= rows:
        return tally
    first = np.argsort(~tally[:, 1], kind="stable")[:rows]
    return tally[np.sort(first)]


@dataclass(frozen=True)
class _IndexTask:
    keys: Path
    index: Path


def ensure_index(root: Path, vocabulary: Vocabulary, workers: int) -> list[Path]:
    """The hash tables of the vocabulary's columns, made in the work folder of `root` if they are not there."""
    folder = index_folder(root)
    names = [column_file(column.name) for column in vocabulary.columns]
    if not is_indexed(root):
        shutil.rmtree(folder, ignore_errors=True)
        with whole_folder(folder, work_folder(root)) as temporary:
            tasks = [_IndexTask(root / VOCABULARY / f"{name}.npy", temporary / name) for name in names]
            size = sum(task.keys.stat().st_size for task in tasks)
            with Progress("index", size) as progress:
                run_tasks(_make_index, tasks, _worth(size, workers), progress)
            shutil.copyfile(root / VOCABULARY / VOCABULARY_FILE, temporary / VOCABULARY_FILE)
    return [folder / name for name in names]


def is_indexed(root: Path) -> bool:
    """Whether the hash tables are there, and those of the vocabulary that is there."""
    made_of = index_folder(root) / VOCABULARY_FILE
    return made_of.exists() and made_of.read_bytes() == (root / VOCABULARY / VOCABULARY_FILE).read_bytes()


def _make_index(task: _IndexTask, report: Report) -> None:
    from data_prep.key_index import write_index

    write_index(task.index, np.load(task.keys))
    report(task.keys.stat().st_size, 0)
