"""Records of quality runs, one a line of a file that only grows, and what they say: means, spread, paired tests."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_nas.report.intervals import half_width95

Record = dict[str, Any]
KEPT = ("auc", "auc_row_ci95", "logloss", "ne", "calibration", "test_rows", "train_rows", "train_seconds", "dense_flops", "dense_params")


@dataclass(frozen=True)
class Task:
    """One training: `recipe` names the schedule, `point` what differs from the config of the data set, such as a learning rate."""

    data: str
    recipe: str
    model: str
    seed: int
    point: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return json.dumps([self.data, self.recipe, self.model, self.seed, list(self.point)])


class Records:
    """The file of records; a line is written when its training is done, and flushed to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[Record] = [json.loads(line) for line in _whole_lines(path)]
        self._keys = {record["key"] for record in self.all}

    def __contains__(self, task: Task) -> bool:
        return task.key in self._keys

    def add(self, task: Task, result: Record, **more: Any) -> Record:
        validations = result.get("validations", [])
        record = {
            "key": task.key,
            "data": task.data,
            "recipe": task.recipe,
            "model": task.model,
            "seed": task.seed,
            "point": list(task.point),
            **{name: result[name] for name in KEPT},
            "epochs": len(validations),
            "valid_auc": max((epoch["auc"] for epoch in validations), default=None),
            **({"by_day": result["by_day"]} if "by_day" in result else {}),
            **more,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.all.append(record)
        self._keys.add(task.key)
        return record

    def of(self, data: str, recipe: str, model: str | None = None, point: Sequence[str] | None = None) -> list[Record]:
        """In order of seeds."""
        kept = [r for r in self.all if (r["data"], r["recipe"]) == (data, recipe)]
        kept = [r for r in kept if model in (None, r["model"]) and (point is None or r["point"] == list(point))]
        return sorted(kept, key=lambda r: int(r["seed"]))

    def best_point(self, data: str, recipe: str, model: str) -> tuple[str, ...]:
        """The point of a grid with the highest mean AUC on the validation days; the config's own where nothing was tuned."""
        by_point: dict[tuple[str, ...], list[float]] = {}
        for record in self.of(data, recipe, model):
            by_point.setdefault(tuple(record["point"]), []).append(_judged(record))
        return max(by_point, key=lambda point: statistics.fmean(by_point[point]), default=())


def _judged(record: Record) -> float:
    """What a grid is judged by: the validation days, or where there are none the recipe's own test days, which are not the final ones."""
    return float(record["auc"] if record["valid_auc"] is None else record["valid_auc"])


def table(records: Iterable[Record], reference: str) -> str:
    """A row a model and point: mean test AUC, its standard deviation over seeds, and its paired difference to `reference`."""
    by_model: dict[tuple[str, tuple[str, ...]], dict[int, Record]] = {}
    for record in records:
        by_model.setdefault((record["model"], tuple(record["point"])), {})[record["seed"]] = record
    named = {name: runs for (name, _), runs in by_model.items()}
    lines = [f"{'model':<16} {'seeds':>5} {'AUC':>8} {'sd':>7} {'log loss':>8} {'dense FLOPs':>11} {'seconds':>7}  minus {reference}"]
    for (name, point), runs in sorted(by_model.items(), key=lambda item: -_mean(item[1].values(), "auc")):
        aucs = [run["auc"] for run in runs.values()]
        spread = f"{statistics.stdev(aucs):.5f}" if len(aucs) > 1 else "-"
        against = "" if name == reference else paired(runs, named.get(reference, {}))
        values = f"{statistics.fmean(aucs):>8.5f} {spread:>7} {_mean(runs.values(), 'logloss'):>8.4f}"
        cost = f"{next(iter(runs.values()))['dense_flops']:>11,} {_mean(runs.values(), 'train_seconds'):>7.0f}"
        lines.append(f"{name:<16} {len(aucs):>5} {values} {cost}  {against} {' '.join(point)}".rstrip())
    return "\n".join(lines)


def paired(mine: dict[int, Record], theirs: dict[int, Record]) -> str:
    """Mean difference of AUC over the seeds that both have, with its 95 % interval (Student's t)."""
    differences = [mine[seed]["auc"] - theirs[seed]["auc"] for seed in sorted(set(mine) & set(theirs))]
    if not differences:
        return ""
    width = half_width95(differences)
    return f"{statistics.fmean(differences):+.5f}" + ("" if width is None else f" +- {width:.5f} ({len(differences)} pairs)")


def percentile(found: float, controls: Sequence[float]) -> float:
    """Share of the controls that lie below, ties counted half, in per cent."""
    return 100 * sum((found > other) + 0.5 * (found == other) for other in controls) / len(controls)


def _mean(records: Iterable[Record], field: str) -> float:
    return statistics.fmean(record[field] for record in records)


def _whole_lines(path: Path) -> list[str]:
    """A line cut off by a kill is left out."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]
