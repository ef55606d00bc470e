"""The whole pipeline on a table in memory: fit finds an architecture and trains it, predict_proba scores new rows.

It is a run like any other, done in this process a job after the other: its folder has the records, the events and the report of one,
`recsys-nas` reads it, and a call that was cut off goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from data_prep.atomic import write_text
from data_prep.command_line import did_you_mean
from data_prep.errors import DataError
from data_prep.inputs import find_logs
from data_prep.options import DEFAULT_BUCKETS, PrepareOptions
from data_prep.prepare import prepare
from data_prep.shards import Manifest, open_manifest
from data_prep.table_format import TableFormat
from data_prep.table_schema import DayRule, TableSchema
from recsys_nas.config import Config, ConfigError, load_config
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import process_group
from recsys_nas.jobs.retrain import retrain, seeds_of
from recsys_nas.jobs.search_day import search_day
from recsys_nas.judged_days import check_judged_days
from recsys_nas.provenance import write_provenance
from recsys_nas.report.page import write_report
from recsys_nas.report.records import FOUND, Record, read_record
from recsys_nas.report.results import write_results
from recsys_nas.search.combine_days import combine_run
from recsys_nas.serving.quantised import CPU, trained_model
from recsys_nas.space import Architecture, load_architecture
from recsys_nas.training.trainer import predict
from recsys_nas.zoo.catalogue import RUN_MODELS

PART_ROWS = 1 << 19


class ArchitectureSearch:
    """Finds and trains a network for a table of clicks.

    A table is whatever pyarrow makes one of: a pandas or polars DataFrame, an Arrow table, a dict of columns. `schema` tells
    its columns and where a row's day stands. All days but the last are searched and trained on, the last one judges. `settings` change
    values of the config, `section.key=value` as on the command line. All files are in `folder`; a folder is for one table and one config.
    """

    def __init__(self, folder: str | Path, schema: TableSchema, settings: Sequence[str] = ()) -> None:
        self.folder = Path(folder).absolute()
        self.schema = schema
        self.settings = tuple(settings)

    def fit(self, table: Any) -> ArchitectureSearch:
        """Search, train and judge; steps that `folder` has the results of are not done again.

        Raises DataError and ConfigError, one line, for a table or a setting that cannot be used.
        """
        if not self.schema.day.column:
            raise DataError("the schema says no column for the day of a row: give it day=DayRule(column=..., format=..., first=...)")
        manifest = self._shards(table)
        days = [day.day for day in manifest.days]
        if len(days) < 2:
            raise DataError(f"the table holds day {days[0]} only: two are needed, one to search and train on and one to judge")
        self._start(days, manifest)
        run = Run.open(self.folder)
        with self._words_in_a_log(), process_group(run.collective_timeout) as ranks:
            for day in days[:-1]:
                search_day(run, day, ranks)
            combine_run(self.folder)
            for model in (FOUND, *run.config.retrain.models, *run.config.retrain.controls):
                for seed in seeds_of(run.config.retrain, model):
                    retrain(run, model, seed, ranks)
        write_results(self.folder)
        write_report(self.folder)
        return self

    @staticmethod
    def _check(config: Config, manifest: Manifest) -> None:
        """Raises ConfigError before the search for what only trainings would find after it."""
        check_judged_days(config, manifest)
        known = (*RUN_MODELS, *config.retrain.sizes)
        for model in config.retrain.models:
            if model not in known:
                raise ConfigError(f"retrain.models: there is no {model!r}; {did_you_mean(model, known)}")

    @property
    def architecture(self) -> Architecture:
        """What was found. Raises ValueError before `fit` has found it."""
        return load_architecture(self.folder / "architecture.json")

    @property
    def results(self) -> Record:
        """What results.json holds: quality and cost of the found network, and of the models it was compared with."""
        return read_record(self.folder / "results.json", ("models", "test"), "call fit first")

    def predict_proba(self, table: Any) -> NDArray[np.float32]:
        """Probabilities float32 `[R, 2]` of no click and of a click, by the found network of the first seed, in the order of the rows.

        The table needs neither label nor day. Raises DataError when it lacks another column or has a row that cannot be read.
        """
        run = Run.open(self.folder)
        self._of_this_schema(run.manifest)
        with self._as_shards(table) as (root, manifest), process_group(run.collective_timeout) as ranks:
            model = trained_model(run, FOUND, run.config.retrain.seeds[0])
            given = dataclasses.replace(run, shards=root, manifest=manifest)
            reader = given.reader([0], ranks, run.config.retrain.batch_size, shuffle_seed=None)
            clicks = predict(model, reader, CPU)[0].numpy().astype(np.float32)
        return np.stack([1 - clicks, clicks], axis=1)

    def _shards(self, table: Any) -> Manifest:
        """The table as shards of days in the folder; those that are there stay."""
        root, fingerprint = self.folder / "shards", self.folder / "table.sha256"
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".table-") as folder:
            path = Path(folder) / "table.parquet"
            pa_parquet.write_table(_arrow(table), path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not (root / "manifest.json").exists():
                write_text(fingerprint, digest)
                shutil.rmtree(root, ignore_errors=True)  # days of a table that was refused, perhaps
                _prepare(path, root, self.schema)
            elif fingerprint.read_text(encoding="utf-8") != digest:
                raise DataError(f"{self.folder} is the folder of another table: give this one a folder of its own")
        return self._of_this_schema(open_manifest(root))

    def _of_this_schema(self, manifest: Manifest) -> Manifest:
        """The manifest. Raises DataError where it is by other rules than the schema's: ids would mean other things than were learnt."""
        mine, there = _options(self.schema), manifest.parameters
        names = {*mine.parameters, *there} - {"day"}  # which says nothing of ids
        other = sorted(name for name in names if mine.parameters.get(name) != there.get(name))
        if other or manifest.schema != mine.schema:
            what = f"{other[0]} differs" if other else "columns or their sizes differ"
            raise DataError(f"{self.folder} was made by another schema ({what}): give that one, or take a folder of its own")
        return manifest

    @contextmanager
    def _as_shards(self, table: Any) -> Iterator[tuple[Path, Manifest]]:
        """The table as shards of one day 0, for as long as the block lasts."""
        arrow = _arrow(table)
        label = pa.array(np.zeros(len(arrow), np.int64))
        names = [name for name in arrow.column_names if name != self.schema.label]
        arrow = arrow.select(names).append_column(self.schema.label, label)
        whole = dataclasses.replace(self.schema, day=DayRule(files={"table": 0}))
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".table-") as folder:
            path, root = Path(folder) / "table.parquet", Path(folder) / "shards"
            pa_parquet.write_table(arrow, path)
            yield root, _prepare(path, root, whole)

    @contextmanager
    def _words_in_a_log(self) -> Iterator[None]:
        """What jobs print, such as the plans of their tables, goes where the launcher puts it: below logs/."""
        (self.folder / "logs").mkdir(exist_ok=True)
        with (self.folder / "logs" / "fit.log").open("a", encoding="utf-8") as file, redirect_stdout(file):
            yield

    def _start(self, days: Sequence[int], manifest: Manifest) -> None:
        """Write the config and what the run was started with, as the launcher does, once it is known to be of use."""
        past = ",".join(map(str, days[:-1]))
        known = {
            "output": str(self.folder.parent),
            "data.shards": str(self.folder / "shards"),
            "data.search_days": past,
            "data.train_days": past,
            "data.test_day": days[-1],
            "retrain.models": [],
            "retrain.seeds": [0],
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{self.folder.name}.toml"
            write_text(path, "")
            config = load_config(path, [*(f"{key}={json.dumps(value)}" for key, value in known.items()), *self.settings])
        self._check(config, manifest)
        write_provenance(self.folder, config, [f"{type(self).__module__}.{type(self).__name__}.fit"])


def _arrow(table: Any) -> pa.Table:
    """The table with texts and categories as plain strings and without what only its maker knows, so that equal tables are equal files."""
    try:
        made = pa.table(table)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"no table can be made of a {type(table).__name__} ({error}); give a DataFrame, or a dict of columns") from error
    return pa.table({name: _plain(made[name]) for name in made.column_names})


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Polars hands over views of texts and dictionaries of these, which pyarrow can neither sort nor decode."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        decoded = [_plain(pa.chunked_array([chunk.dictionary])).combine_chunks().take(chunk.indices) for chunk in column.chunks]
        return pa.chunked_array(decoded, None if decoded else kind.value_type)
    is_text = pa.types.is_string(kind) or pa.types.is_string_view(kind)
    return column.cast(pa.large_string()) if is_text else column


def _prepare(path: Path, root: Path, schema: TableSchema) -> Manifest:
    """Shards of a Parquet file in `root`. Raises DataError for a row that cannot be read: none may be left out."""
    options = _options(schema)
    try:
        return prepare(root, options.format.days(find_logs([str(path)]), root, 1), options, 1)[0]
    except DataError as error:
        # The file is ours and will be gone, and the option that the line names is that of a command.
        said = str(error).partition("; see ")[0]
        raise DataError(re.sub(r"line (\d+) of \S+:", r"row \1 of the table:", said)) from error


def _options(schema: TableSchema) -> PrepareOptions:
    return PrepareOptions(schema.schema(DEFAULT_BUCKETS), DEFAULT_BUCKETS, PART_ROWS, 0.0, TableFormat(schema), schema.dense_transform)
