"""The data sets of benchmarks/quality.py: from the logs as they come to shards by day, once."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from data_prep import cli as data_prep_cli
from data_prep.atomic import whole_folder

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
PSEUDO_DAYS = 10
DEMO_DAYS, DEMO_ROWS_PER_DAY = 6, 333_334


Point = tuple[str, ...]


@dataclass(frozen=True)
class Data:
    """`config` lies in configs/; `prepare` makes shards in a work folder from a source, and returns where they are.

    `recipes`: what differs from the config by recipe; `grid`: the points that every model is tuned over. Models are tuned on days that the
    final figures are not of. `judged_days`: of the searched ones, those by which the found network is refined; empty: the validation days,
    or the last one.
    """

    config: str
    prepare: Callable[[Path, Path], Path]
    recipes: Mapping[str, tuple[str, ...]]
    grid: tuple[Point, ...]
    judged_days: str = ""


def _grid(rates: Sequence[float], penalties: Sequence[float], table_rates: Sequence[float] = ()) -> tuple[Point, ...]:
    """Learning rate of the dense half, that of the tables, the same one where none are given, and the tables' L2 penalty."""
    return tuple(
        (f"retrain.learning_rate={rate}", f"embedding.learning_rate={table_rate}", f"embedding.weight_decay={penalty}")
        for rate, penalty in product(rates, penalties)
        for table_rate in table_rates or (rate,)
    )


def _with_batch_norm(grid: tuple[Point, ...]) -> tuple[Point, ...]:
    """Each point without and with batch normalisation of the zoo's hidden layers; networks of the space have `space.normalisation`."""
    return tuple((*point, *more) for more in ((), ("retrain.batch_norm=true",)) for point in grid)


def _frappe(source: Path, work: Path) -> Path:
    inputs = sorted(str(path) for path in source.glob("*.csv*"))
    if not inputs:
        sys.exit(f"error: {source} holds no train.csv, valid.csv and test.csv of Frappe_x1 (.gz will do)")
    return make_shards(work / "frappe-shards", ["--input", *inputs, "--schema", str(SCHEMAS / "frappe_x1.toml")])


def _criteo80k(source: Path, work: Path) -> Path:
    raw = cut_criteo(source, work / "criteo80k-raw", lambda rows: [day * rows // PSEUDO_DAYS for day in range(PSEUDO_DAYS + 1)])
    return make_shards(work / "criteo80k-shards", ["--input", str(raw / "day_*"), "--hash", "frequency", "--threshold", "5"])


def cut_criteo(source: Path, raw: Path, cuts: Callable[[int], Sequence[int]]) -> Path:
    """`raw` with a log a day of the first rows of Criteo's train.txt, gzipped, once; `cuts`: of their number, where each day begins and the
    last one ends."""
    if not source.is_file():
        sys.exit(f"error: {source} is no file; --source names the first rows of Criteo's train.txt, gzipped")
    if not raw.exists():
        with gzip.open(source, "rt", encoding="utf-8") as file:
            lines = file.readlines()
        with whole_folder(raw, raw.parent) as folder:
            for day, (first, end) in enumerate(pairwise(cuts(len(lines)))):
                (folder / f"day_{day}").write_text("".join(lines[first:end]), encoding="utf-8")
    return raw


def _demo(source: Path, work: Path) -> Path:
    options = ["--days", str(DEMO_DAYS), "--rows-per-day", str(DEMO_ROWS_PER_DAY), "--seed", "0", "--workers", "1"]
    if not (source / "truth.json").exists() and data_prep_cli.main(["synth", "--out", str(source), *options]):
        sys.exit(1)
    return make_shards(work / "demo-shards", ["--input", str(source / "day_*"), "--schema", "criteo"])


def make_shards(out: Path, options: Sequence[str]) -> Path:
    """`out` with the shards that `data-prep run` makes under these options, once."""
    if not (out / "manifest.json").exists() and data_prep_cli.main(["run", *options, "--out", str(out), "--workers", "1"]):
        sys.exit(1)
    return out


_LONG_AND_SMALL_STEPS = (
    *('data.train_days="0-4"', "retrain.batch_size=256", "retrain.learning_rate=5e-3", "embedding.learning_rate=0.05"),
    *('space.normalisation="none"', 'space.dense_modules=["linear", "dot_product", "cross", "cross_network", "fm"]'),
    "search.target_flops=440000",
)
_FOUR_DAYS = ('data.search_days="0-3"', 'data.train_days="0-3"', "data.test_day=4", 'data.truth=""')
DATA = {
    # BARS's rule cuts the rate at the first dip, and its figures are in float32; "late" is the config's own.
    "frappe": Data(
        "frappe.toml",
        _frappe,
        {"bars": ("retrain.hold_epochs=0", 'retrain.precision="float32"')},
        _grid((5e-4, 1e-3, 2e-3), (0.025, 0.05, 0.1)),
    ),
    # Chosen on days 0 to 3, which are searched too; judged on days 4 to 9.
    "criteo80k": Data(
        "criteo_kaggle.toml",
        _criteo80k,
        {"tune": ('retrain.progressive="1-3"',)},
        _with_batch_norm(_grid((1e-3, 3e-3), (0.0, 1e-5), (0.02, 0.05))),
        judged_days="1-3",
    ),
    # Chosen by a training on days 0 to 3 and a look at day 4; trained on days 0 to 4 and judged on day 5. In batches of 256: with the
    # demo's own 1,024, whether a planted pair is learnt in one pass is a matter of the seed (docs/quality/demo.md).
    "demo": Data(
        "demo.toml",
        _demo,
        dict.fromkeys(("late", "refined"), _LONG_AND_SMALL_STEPS) | {"tune": (*_LONG_AND_SMALL_STEPS, *_FOUR_DAYS)},
        _grid((2e-3, 5e-3, 1e-2), (0.0,), (0.05, 0.1)),
    ),
}
