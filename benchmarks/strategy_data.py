"""What benchmarks/strategies.py and benchmarks/strategy_ranking.py share: data cut for one search and a judgement apart from it, the
settings that are the same for all, a training of one network alone, and records, one a line of a file that only grows."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine
from benchmarks.quality_data import DATA as QUALITY_DATA
from benchmarks.quality_data import cut_criteo, make_shards
from data_prep import cli as data_prep_cli
from data_prep.atomic import write_json, write_text
from recsys_nas.config import Config, load_config, to_toml
from recsys_nas.jobs.assembly import Run, read_json
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.report.records import FOUND
from recsys_nas.space import Architecture, SearchSpace

Record = dict[str, Any]
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
DEMO_DAYS, DEMO_ROWS_PER_DAY = 3, 100_000
CRITEO_DAYS = (0, 40_000, 60_000, 80_000)
"""Rows, in order of the file, at which a pseudo-day ends and the next begins."""
PACKAGES = ("torch", "torchrec", "numpy")

ONE_DAY = (
    'data.search_days="0"',
    "search.warmup_share=0.6",
    "search.threshold=0.3",
    "trials.validation_share=0.2",
    "trials.judgements=96",
    "trials.finetune_rows=4000",
    "trials.finalists=4",
)
"""One day is searched, within the same dense FLOPs by every strategy. Warm-up and threshold are those of dnas for days as short as
these (docs/strategies.md says how they were chosen)."""


@dataclass(frozen=True)
class Data:
    """`config` lies in configs/, `settings` differ from it; `prepare` makes shards in a work folder from a source."""

    config: str
    prepare: Callable[[Path, Path], Path]
    settings: tuple[str, ...]


def _criteo80k(source: Path, work: Path) -> Path:
    raw = cut_criteo(source, work / "criteo80k-three-days", lambda _: CRITEO_DAYS)
    return make_shards(raw.with_name(f"{raw.name}-shards"), ["--input", str(raw / "day_*"), "--hash", "frequency", "--threshold", "5"])


def _demo(source: Path, work: Path) -> Path:
    raw = source if (source / "truth.json").exists() else work / "demo-three-days"
    options = ["--days", str(DEMO_DAYS), "--rows-per-day", str(DEMO_ROWS_PER_DAY), "--seed", "0", "--workers", "1"]
    if not (raw / "truth.json").exists() and data_prep_cli.main(["synth", "--out", str(raw), *options]):
        sys.exit(1)
    return make_shards(raw.with_name(f"{raw.name}-shards"), ["--input", str(raw / "day_*"), "--schema", "criteo"])


def _cap(flops: int) -> tuple[str, str]:
    return f"trials.max_flops={flops}", f"search.target_flops={flops}"


FRAPPE_IN_ONE_PASS = (
    *("search.epochs=1", "search.batch_size=128", "search.learning_rate=2e-3", "search.dropout=0.0", 'search.shuffle="blocks"'),
    *('search.levels="single"', "search.alpha_learning_rate=3e-2", "search.settle_share=0.2", 'search.precision="float32"'),
    'search.lr_decay="constant"',
    *("space.dense_widths=[100]", 'space.dense_modules=["linear", "token_linear", "low_rank_fusion", "cross", "dot_product"]'),
    *("space.linear_skip=true", 'retrain.precision="float32"'),
)
"""As configs/frappe.toml was when the strategies were compared: all of them by rows of one pass."""

CRITEO_AS_COMPARED = ("space.dense_widths=[64]", 'space.normalisation="rms"', "embedding.learning_rate=0.02", "retrain.learning_rate=1e-3")
"""As configs/criteo_kaggle.toml was then."""

DATA = {
    # Searched on rows 0 to 40,000. Rows 40,000 to 60,000 and 60,000 to 80,000 are judged in turn, by models of the rows before.
    "criteo80k": Data(
        "criteo_kaggle.toml",
        _criteo80k,
        (
            *CRITEO_AS_COMPARED,
            *('data.train_days="0-1"', "data.test_day=2", 'retrain.progressive="1-2"', "trials.rows_per_trial=2000", *_cap(250_000)),
        ),
    ),
    # A fixed number of passes, no choice of the best epoch: the recipe of docs/quality/frappe.md takes ten times as long.
    "frappe": Data(
        "frappe.toml",
        QUALITY_DATA["frappe"].prepare,
        (
            *FRAPPE_IN_ONE_PASS,
            *('data.valid_days=""', "retrain.patience=0", "retrain.lr_cut=1.0", "retrain.hold_epochs=0"),
            *("retrain.epochs=6", "retrain.batch_size=2048", "trials.rows_per_trial=10000"),
            *("trials.validation_rows=20000", "retrain.dropout=0.2", *_cap(200_000)),
        ),
    ),
    # Searched on day 0, trained on day 1, judged on day 2.
    "demo": Data(
        "demo.toml",
        _demo,
        ('data.train_days="1"', "data.test_day=2", 'data.truth=""', "search.batch_size=64", "trials.rows_per_trial=5000", *_cap(250_000)),
    ),
}


def config_of(data: str, source: Path, work: Path, overrides: Sequence[str] = ()) -> Config:
    """Prepares the data, unless that is done."""
    shards = DATA[data].prepare(source, work)
    fixed = [f'name="{data}"', f'output="{work / "runs"}"', f'data.shards="{shards}"']
    return load_config(CONFIGS / DATA[data].config, [*fixed, *DATA[data].settings, *ONE_DAY, *overrides])


def train_alone(config: Config, architecture: Architecture, seed: int, ranks: Ranks) -> Record:
    """What `retrain` says of a network trained from scratch; its folder is removed."""
    name = f"{config.name}-alone-{architecture.key()}-seed={seed}"
    run = open_run(replace(config, name=name, seed=seed, retrain=replace(config.retrain, models=(), seeds=(seed,))))
    write_json(run.folder / "architecture.json", architecture.canonical().to_json())
    retrain(run, FOUND, seed, ranks)
    result = read_json(run.folder / "retrain" / FOUND / f"seed={seed}" / "result.json")
    shutil.rmtree(run.folder)
    return result


def open_run(config: Config) -> Run:
    config.run_folder.mkdir(parents=True, exist_ok=True)
    write_text(config.run_folder / "config.toml", to_toml(config))
    return Run.open(config.run_folder)


def uniform_networks(space: SearchSpace, count: int) -> list[Architecture]:
    """All different; the first ones of a longer list are those of a shorter one."""
    generator, found = random.Random("ranking"), dict[str, Architecture]()
    while len(found) < count:
        drawn = space.sample(generator)
        found.setdefault(drawn.key(), drawn)
    return list(found.values())


class Records:
    """Lines of JSON; one is written when its work is done, and flushed to disk. Several processes may add to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[Record] = []
        self.read()

    def read(self) -> None:
        """What is there now. A line cut off by a kill is left out."""
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.exists() else []
        self.all = [json.loads(line) for line in lines if line]

    def add(self, record: Record) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stamped = record | {name: value for name, value in machine(PACKAGES).items() if name in ("date", "commit", "cpu")}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(stamped) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.all.append(stamped)

    def of(self, **wanted: Any) -> list[Record]:
        """Those with these values, in their order."""
        return [record for record in self.all if all(record.get(name) == value for name, value in wanted.items())]
