"""Searches of the small synthetic worlds (data_prep/planted.py), from logs to retrained networks: for the benchmarks beside this file.

Everything is kept in a folder and found again there, so that a benchmark may be cut off and go on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.measuring import machine
from data_prep import cli as prep_cli
from data_prep.atomic import write_json
from recsys_nas.config import from_mapping, parse_days, to_toml
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.jobs.search_day import search_day
from recsys_nas.search.aggregate import aggregate_run
from recsys_nas.space import Gate

ROWS_PER_DAY = 200_000
PACKAGES = ("torch", "torchrec")
# One space for all worlds: every mechanism is there, and only the data say which is needed.
SPACE: dict[str, Any] = {
    "num_blocks": 2,
    "dense_widths": [32],
    "token_counts": [4],
    "dense_modules": ["linear", "dot_product", "cross", "fm"],
    "sparse_modules": ["embedded_fc", "self_attention", "field_gate"],
}


@dataclass(frozen=True)
class Logs:
    """Prepared logs of a world: days 0 to `days - 1`, of which the last is for tests."""

    shards: Path
    truth: Path
    days: int


def prepare(world: str, seed: int, days: int, folder: Path, rows: int = ROWS_PER_DAY) -> Logs:
    """Make and prepare the logs, as `data-prep synth` and `data-prep run` do, unless they are there."""
    raw, shards = folder / "raw" / f"{world}-{seed}-{days}", folder / "shards" / f"{world}-{seed}-{days}"
    if not (shards / "manifest.json").exists():
        made = ["synth", "--world", world, "--out", str(raw), "--days", str(days), "--rows-per-day", str(rows), "--seed", str(seed)]
        run = ["run", "--input", f"{raw}/day_*", "--schema", f"{raw}/schema.toml", "--hash", "frequency", "--out", str(shards)]
        for arguments in (made, run):
            if prep_cli.main([*arguments, "--workers", "1"]):
                sys.exit(f"error: data-prep {' '.join(arguments)} failed")
        for day in raw.glob("day_*"):
            day.unlink()
    return Logs(shards, raw / "truth.json", days)


def open_run(folder: Path, logs: Logs, sections: Mapping[str, Mapping[str, Any]], seed: int, search_days: str) -> Run:
    """A run folder with that config; `sections` goes before what all small searches share."""
    shared: dict[str, dict[str, Any]] = {
        "data": {
            "shards": str(logs.shards),
            "truth": str(logs.truth),
            "search_days": search_days,
            "train_days": f"0-{logs.days - 2}",
            "test_day": logs.days - 1,
        },
        "embedding": {"dim": 4},
        "space": SPACE,
        "search": {"checkpoint_every_steps": 10**9},
        "retrain": {"models": [], "seeds": [seed], "batch_size": 256, "epochs": 2, "checkpoint_every_steps": 10**9},
    }
    for section, values in sections.items():
        shared[section] = shared.get(section, {}) | dict(values)
    config = from_mapping({"name": folder.name, "output": str(folder.parent), "seed": seed, **shared}, where="benchmark")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    return Run.open(folder)


def search(run: Run, ranks: Ranks) -> dict[str, Any]:
    """All days one after the other, then the architecture; returns what alphas.json says."""
    for day in parse_days(run.config.data.search_days, "data.search_days"):
        search_day(run, day, ranks)
    aggregate_run(run.folder)
    return read(run.folder / "alphas.json")


def judge(run: Run, model: str, ranks: Ranks) -> dict[str, Any]:
    """Retrain a model under the first of the config's seeds; returns its result."""
    seed = run.config.retrain.seeds[0]
    retrain(run, model, seed, ranks)
    return read(run.folder / "retrain" / model / f"seed={seed}" / "result.json")


def judge_gates(run: Run, gates: Iterable[Gate], ranks: Ranks) -> dict[str, Any]:
    """Retrain the network of these gates, whatever a search says."""
    write_json(run.folder / "architecture.json", run.space().architecture(gates).canonical().to_json())
    return judge(run, "found", ranks)


def day_records(run: Run) -> list[dict[str, Any]]:
    """What each searched day wrote."""
    days = parse_days(run.config.data.search_days, "data.search_days")
    return [read(run.folder / "days" / f"day={day:02d}" / "alphas.json") for day in days]


def kept(alphas: Mapping[str, Any]) -> list[str]:
    """Names of the kept gates, such as `1/linear`."""
    return [f"{gate['block']}/{gate['module']}" for gate in alphas["gates"] if gate["kept"]]


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


class Results:
    """Rows of a benchmark by key, each with where and when it was measured, in one JSON file that is written after each of them: a run that
    is cut off goes on from there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Any] = read(path)["rows"] if path.exists() else {}

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        stamp = {name: value for name, value in machine(PACKAGES).items() if name in ("date", "commit", "cpu", "versions")}
        self.rows[key] = dict(row) | stamp
        write_json(self.path, {"rows": self.rows})
        print(key, json.dumps(row), flush=True)


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean and sample standard deviation, for a table."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"
