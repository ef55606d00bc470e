"""`recsys-nas runs`: what run folders there are, how far each is, and the best that it found."""

from __future__ import annotations

import fcntl
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from recsys_nas.config import Config, ConfigError, load_config, parse_days
from recsys_nas.report.quantities import count
from recsys_nas.report.records import FOUND
from recsys_nas.search.day_results import day_result

_WIDTH = 110
CONTROLLER_LOCK = ".controller.lock"
"""The file of a run that its controller holds locked while it works (`launch.lock`)."""


@dataclass(frozen=True)
class RunSummary:
    """One run. `state`: running, done, stopped (some of its jobs are left) or unreadable, with `problem` saying why.

    `days` and `trainings` are (done, asked for). Figures are those of results.json, means over seeds; None while there are none.
    """

    folder: str
    state: str
    created: str = ""
    days: tuple[int, int] = (0, 0)
    trainings: tuple[int, int] = (0, 0)
    auc: float | None = None
    auc_ci95: float | None = None
    logloss: float | None = None
    dense_flops: int | None = None
    best_other: str | None = None
    best_other_auc: float | None = None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def list_runs(folder: Path) -> list[RunSummary]:
    """The runs in `folder`, or the run that it is itself, the newest first. Raises ConfigError when there is no such folder."""
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; a search writes its run into one (`output` and `name` of its config)")
    runs = [folder] if (folder / "config.toml").exists() else [path.parent for path in folder.glob("*/config.toml")]
    return sorted(map(_summary, runs), key=lambda run: (run.created, run.folder), reverse=True)


def _summary(run: Path) -> RunSummary:
    try:
        config = load_config(run / "config.toml")
    except ConfigError as error:
        return RunSummary(str(run), "unreadable", problem=str(error))
    days, trainings = _days(run, config), _trainings(run, config)
    results = _read(run / "results.json")
    finished = days[0] == days[1] and trainings[0] + _controls_left(run, config) == trainings[1] and results
    state = "running" if _is_held(run) else "done" if finished else "stopped"
    return RunSummary(str(run), state, str(_read(run / "run.json").get("created", "")), days, trainings, **_best(results))


def _days(run: Path, config: Config) -> tuple[int, int]:
    """Days searched out of those asked for; a day that the aggregate does without counts as neither."""
    missing = _read(run / "alphas.json").get("missing_days", [])
    asked = [day for day in parse_days(config.data.search_days, "data.search_days") if day not in missing]
    return sum(day_result(run, day, config.search.day_result).exists() for day in asked), len(asked)


def _trainings(run: Path, config: Config) -> tuple[int, int]:
    models = {FOUND, *config.retrain.models}
    folders = [run / "retrain" / model / f"seed={seed}" for model in models for seed in config.retrain.seeds]
    folders += _control_folders(run, config)
    return sum((folder / "result.json").exists() for folder in folders), len(folders)


def _controls_left(run: Path, config: Config) -> int:
    """Random controls that were not trained: a run may end without them."""
    return sum(not (folder / "result.json").exists() for folder in _control_folders(run, config))


def _control_folders(run: Path, config: Config) -> list[Path]:
    return [run / "retrain" / model / f"seed={config.retrain.seeds[0]}" for model in config.retrain.controls]


def _best(results: dict[str, Any]) -> dict[str, Any]:
    if not results:
        return {}
    found, *others = results["models"]
    best = {"best_other": others[0]["name"], "best_other_auc": others[0]["auc"]} if others else {}
    return {name: found[name] for name in ("auc", "auc_ci95", "logloss", "dense_flops")} | best


def _read(path: Path) -> dict[str, Any]:
    """The record, empty while there is none or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_held(run: Path) -> bool:
    """Whether a controller of this host holds the run; one of another host cannot be seen from here."""
    try:
        with (run / CONTROLLER_LOCK).open(encoding="utf-8") as file:
            if not file.read():
                return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def print_runs(runs: list[RunSummary], console: Console | None = None) -> None:
    """A line a run; what is wrong with unreadable ones below."""
    # piped output knows no width, and rich would then guess 80
    console = console or Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    if not runs:
        console.print("no runs here; `torchx run launch/search.py --config configs/demo.toml` makes one")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("run", "state", "days", "trainings", "AUC", "log loss", "dense FLOPs", "best other", "AUC"):
        left = heading in ("run", "state", "best other")
        table.add_column(
            heading.replace(" ", "\n"), no_wrap=heading != "run", overflow="fold", justify="left" if left else "right", vertical="bottom"
        )
    for run in runs:
        table.add_row(*_cells(run))
    console.print(table)
    for run in runs:
        if run.problem:
            console.print(f"{run.folder}: {run.problem}", soft_wrap=True, markup=False)


def _cells(run: RunSummary) -> tuple[str, ...]:
    if run.state == "unreadable":
        return run.folder, run.state
    auc = "" if run.auc is None else f"{run.auc:.4f}" + ("" if run.auc_ci95 is None else f" ± {run.auc_ci95:.4f}")
    return (
        run.folder,
        run.state,
        f"{run.days[0]}/{run.days[1]}",
        f"{run.trainings[0]}/{run.trainings[1]}",
        auc,
        "" if run.logloss is None else f"{run.logloss:.4f}",
        "" if run.dense_flops is None else count(run.dense_flops),
        run.best_other or "",
        "" if run.best_other_auc is None else f"{run.best_other_auc:.4f}",
    )
