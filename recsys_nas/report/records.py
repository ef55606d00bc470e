"""Reads the JSON records of a run folder, and turns a missing or broken one into a line that says how to get it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_nas.architecture_files import check_current
from recsys_nas.config import Config, ConfigError, load_config, parse_days
from recsys_nas.search.day_results import day_result
from recsys_nas.space import Architecture, load_architecture
from recsys_nas.zoo.catalogue import REFINED

Record = dict[str, Any]

FOUND = "found"
"""Name of the searched model among the models retrained."""


@dataclass(frozen=True)
class RunRecords:
    """All that the report says, as read from one run folder.

    `days`: the record of each day's search. `alphas`: their aggregate. `retrain`: the records of each model, one a seed.
    `provenance`: what run.json tells, empty when there is none. `config_text`: config.toml as it stands. `sweep`: the networks found under
    other prices, of pareto.json, empty when there is none.
    """

    folder: Path
    config: Config
    config_text: str
    provenance: Record
    days: list[Record]
    alphas: Record
    architecture: Architecture
    retrain: dict[str, list[Record]]
    results: Record
    sweep: list[Record]


def read_run(run: Path) -> RunRecords:
    """Read everything the report needs; raises ConfigError, one line, naming what is missing and the command that makes it."""
    config = load_config(run / "config.toml")
    aggregate = f"run `recsys-nas aggregate {run}`"
    try:
        architecture = load_architecture(run / "architecture.json")
    except ValueError as error:
        raise ConfigError(f"{error}; {aggregate}") from error
    provenance = run / "run.json"
    return RunRecords(
        folder=run,
        config=config,
        config_text=(run / "config.toml").read_text(encoding="utf-8"),
        provenance=read_record(provenance, (), "go on without it") if provenance.exists() else {},
        days=read_days(run, config),
        alphas=read_record(run / "alphas.json", ("days", "threshold", "gates", "agreement", "undecided_share"), aggregate),
        architecture=architecture,
        retrain=read_retrain(run, config),
        results=read_record(run / "results.json", ("models", "search", "test"), f"run `recsys-nas compare {run}`"),
        sweep=_read_sweep(run / "pareto.json"),
    )


def _read_sweep(path: Path) -> list[Record]:
    """Name, dense FLOPs, AUC and its interval of each network found under another price."""
    points = read_record(path, ("points",), "run `recsys-nas pareto` again")["points"] if path.exists() else []
    return [point for point in points if point["kind"] == "found" and point["name"] not in (FOUND, REFINED)]


def read_days(run: Path, config: Config) -> list[Record]:
    """The search record of every day that the config names, in order of days; without those that the aggregate does without."""
    alphas = run / "alphas.json"
    missing = read_record(alphas, (), f"run `recsys-nas aggregate {run}`").get("missing_days", []) if alphas.exists() else []
    records = []
    for day in parse_days(config.data.search_days, "data.search_days"):
        if day not in missing:
            remedy = f"run `recsys-nas search-day {run} --day {day}`"
            records.append(read_record(day_result(run, day, config.search.day_result), ("day", "rows", "seconds"), remedy))
    return records


def read_retrain(run: Path, config: Config) -> dict[str, list[Record]]:
    """Model -> its records in order of seeds, for `found`, every model and seed that the config names, and `refined` once it is trained."""
    refined = [REFINED] if (run / "retrain" / REFINED).exists() else []
    models = (FOUND, *refined, *(name for name in config.retrain.models if name not in (FOUND, REFINED)))
    return {model: [_read_result(run, model, seed) for seed in config.retrain.seeds] for model in models}


def read_controls(run: Path, config: Config) -> list[Record]:
    """The records of the random controls that were trained, each with the first seed."""
    seed = config.retrain.seeds[0]
    return [_read_result(run, name, seed) for name in config.retrain.controls if _result_file(run, name, seed).exists()]


def read_record(path: Path, fields: Iterable[str], remedy: str) -> Record:
    """Read a JSON object that has `fields`; raises ConfigError, one line that ends in `remedy`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; {remedy}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON ({error}); delete it and {remedy}") from error
    missing = [name for name in fields if not isinstance(value, dict) or name not in value]
    if missing or not isinstance(value, dict):
        raise ConfigError(f"{path} lacks {', '.join(missing) or 'an object'}; delete it and {remedy}")
    return value


RESULT_MEANS = ("auc", "logloss", "ne", "calibration", "train_seconds", "rows_per_second")
"""Figures of a result that vary with the seed."""
RESULT_COSTS = ("dense_flops", "lookup_flops", "lookup_bytes", "dense_params", "embedding_params")
"""Figures of a result that belong to the network, so every seed must agree on them."""
RESULT_CURVES = ("cost_by_module", "learning_curve", "calibration_bins")


def _result_file(run: Path, model: str, seed: int) -> Path:
    return run / "retrain" / model / f"seed={seed}" / "result.json"


def _read_result(run: Path, model: str, seed: int) -> Record:
    path = _result_file(run, model, seed)
    remedy = f"run `recsys-nas retrain {run} --model {model}`"
    if not path.exists():
        raise ConfigError(f"{run}: model {model} has no result for seed {seed} ({path.relative_to(run)}); {remedy}")
    numbers = (*RESULT_MEANS, *RESULT_COSTS, "test_rows", "test_positives", "train_rows")
    result = read_record(path, (*numbers, *RESULT_CURVES), remedy)
    for name in numbers:
        value = result[name]
        # NaN, infinity and null all fail this one comparison
        if not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise ConfigError(f"{path}: {name} = {value!r} is no finite number; delete the file and {remedy}")
    check_current(run, model, result, path)
    return result
