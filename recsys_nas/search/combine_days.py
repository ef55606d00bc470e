"""From the trials of all days to one architecture, for the strategies that go trial by trial. No torch: it runs in the controller.

Days judge different networks, each on rows of its own, and the best of many noisy judgements looks better than it is. So no
day's own figure decides. From each day's trials a ridge regression on the space's choices is made, which says of any network
how it would have fared on that day, in standard deviations; of all days' finalists the one wins whose mean over the days is
lowest. Where finalists were trained and all others judged more cheaply, what training says of them is no number that can be set beside
the rest, but it has said which is best: then each day enters its choice alone. With a single day its own choice stands.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.atomic import write_json
from data_prep.shards import open_manifest
from recsys_nas.config import Config, ConfigError, load_config, parse_days
from recsys_nas.search.aggregate import aggregate_run
from recsys_nas.search.agreement import kendall_tau
from recsys_nas.search.choices import Choices
from recsys_nas.search.day_results import check_settings, day_result, made_of
from recsys_nas.search_config import UNDECIDED
from recsys_nas.space import Architecture, SearchSpace, space_from_config

RIDGE = 1.0
METHOD = "lowest mean over days of a ridge regression's prediction"


@dataclass(frozen=True)
class DayTrials:
    """What one day says: its `choice`, its `finalists` (the choice among them), and all networks it judged, by their values; whether the
    finalists were `trained_apart`, and the choice is the best of them by what is not among these values."""

    day: int
    choice: Architecture
    finalists: tuple[Architecture, ...]
    judged: tuple[tuple[Architecture, float], ...]
    trained_apart: bool = False

    @property
    def entered(self) -> tuple[Architecture, ...]:
        """For all days to rank."""
        return (self.choice,) if self.trained_apart else (self.choice, *self.finalists)


@dataclass(frozen=True)
class Ranked:
    """A finalist and what each day's regression says of it, in standard deviations of that day; the lower the better."""

    architecture: Architecture
    by_day: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.by_day))


def rank(space: SearchSpace, days: Sequence[DayTrials]) -> tuple[Ranked, ...]:
    """What all days enter, the best first; of one day all its finalists; equal networks are one."""
    choices = Choices(space)
    if len(days) == 1:
        first = {days[0].choice.key(): days[0].choice}
        pool = list((first | {a.key(): a for a in days[0].finalists}).values())
        return tuple(Ranked(architecture, (float(place),)) for place, architecture in enumerate(pool))
    pool = list({a.key(): a for day in days for a in day.entered}.values())
    encoded = np.array([choices.encode(architecture) for architecture in pool], np.float64)
    predicted = np.array([_predictions(choices, day, encoded) for day in days])
    ranked = [Ranked(architecture, tuple(map(float, column))) for architecture, column in zip(pool, predicted.T, strict=True)]
    return tuple(sorted(ranked, key=lambda r: r.mean))


def _predictions(choices: Choices, day: DayTrials, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the day's ridge regression says of networks `[pool, width]`: `[pool]`, 0 being the mean of what it judged."""
    inputs = np.array([choices.encode(architecture) for architecture, _ in day.judged], np.float64)
    values = np.array([value for _, value in day.judged])
    spread = values.std()
    if not spread:
        return np.zeros(len(encoded))
    centre = inputs.mean(axis=0)
    inputs, values = inputs - centre, (values - values.mean()) / spread
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ values)
    return (encoded - centre) @ weights


def combine_run(run: Path, searched: Sequence[int] | None = None, config: Config | None = None, out: Path | None = None) -> bool:
    """From what the days `searched` (by default all of the config) left to `alphas.json` and `architecture.json` in `out`.

    `config` and `out` are by default those of the run. Gates are aggregated (`recsys_nas.search.aggregate`), trials ranked; in the
    `alphas.json` of these, the share of a day's finalists that keep a module stands for the probability of a gate. Returns False
    when a decoy survived. Raises ConfigError naming a day that has not been searched, was searched on another space, or left a
    damaged file.
    """
    config, out = config or load_config(run / "config.toml"), out or run
    if config.search.strategy == "dnas":
        return aggregate_run(run, searched, config, out)
    asked = parse_days(config.data.search_days, "data.search_days")
    days = asked if searched is None else tuple(searched)
    manifest = open_manifest(config.data.shards)
    schema = manifest.schema
    space = space_from_config(config.space, len(schema.dense), len(schema.categorical), config.embedding.dim)
    read = [_read_day(run, day, space, config.search.day_result) for day in days]
    check_settings(run, days, load_config(run / "config.toml"), manifest)
    ranked = rank(space, read)
    gates = [_gate_json(number, name, read, ranked[0].architecture) for number, name in _modules(space)]
    undecided = [UNDECIDED[0] < gate["probability"] < UNDECIDED[1] for gate in gates]
    # First: alphas.json is what tells that it is that of these days.
    write_json(out / "architecture.json", ranked[0].architecture.canonical().to_json())
    write_json(
        out / "alphas.json",
        {
            "format_version": 1,
            "strategy": config.search.strategy,
            "method": METHOD,
            "days": list(days),
            "missing_days": [day for day in asked if day not in days],
            "made_of": made_of(run, asked, config.search.day_result),
            "threshold": config.search.threshold,
            "gates": gates,
            "agreement": _agreement(space, read, ranked),
            "undecided_share": float(np.mean(undecided)),
            "finalists": [{"key": r.architecture.key(), "mean": r.mean, "by_day": list(r.by_day)} for r in ranked],
        },
    )
    return True


def _agreement(space: SearchSpace, days: Sequence[DayTrials], ranked: Sequence[Ranked]) -> dict[str, float | None] | None:
    """Over all pairs of days: Kendall's tau of what they say of the finalists, and the overlap of the choices of their networks."""
    if len(days) < 2:
        return None
    by_day = np.array([r.by_day for r in ranked]).T
    taus = [tau for a, b in itertools.combinations(by_day, 2) if not np.isnan(tau := kendall_tau(a, b))]
    encoded = [Choices(space).encode(day.choice) > 0 for day in days]
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in itertools.combinations(encoded, 2)]
    return {"kendall_tau": float(np.mean(taus)) if taus else None, "jaccard": float(np.mean(overlaps))}


def _modules(space: SearchSpace) -> list[tuple[int, str]]:
    names = space.rules.dense_modules + space.rules.sparse_modules
    return [(number, name) for number in range(1, space.rules.num_blocks + 1) for name in names]


def _keeps(architecture: Architecture, number: int, name: str) -> bool:
    block = architecture.live().blocks[number - 1]
    return name in block.dense + block.sparse


def _gate_json(number: int, name: str, days: Sequence[DayTrials], chosen: Architecture) -> dict[str, Any]:
    by_day = [float(np.mean([_keeps(finalist, number, name) for finalist in day.finalists])) for day in days]
    return {
        "block": number,
        "module": name,
        "probability": float(np.mean(by_day)),
        "std": float(np.std(by_day, ddof=1)) if len(by_day) > 1 else 0.0,
        "by_day": by_day,
        "kept": _keeps(chosen, number, name),
    }


def _read_day(run: Path, day: int, space: SearchSpace, name: str) -> DayTrials:
    path = day_result(run, day, name)
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        trials = [(Architecture.from_json(trial["architecture"]), trial) for trial in record["trials"]]
        choice = Architecture.from_json(record["architecture"])
        finalists = tuple(architecture for architecture, trial in trials if trial["finalist"])
        judged = tuple((architecture, float(trial["value"])) for architecture, trial in trials if trial["compared"])
        apart = any(trial["finalist"] and not trial["compared"] for _, trial in trials)
        if not finalists or not judged or not all(math.isfinite(value) for _, value in judged):
            raise ValueError("no finalist, or none that is compared by a number")
    except OSError as error:
        raise ConfigError(f"day {day} has not been searched: {path} is missing; run the search again to do it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error!r}); remove {path.parent} and run the search again") from error
    if not all(map(space.contains, (choice, *finalists))):
        raise ConfigError(f"{path} is of another search space; remove {path.parent} and run the search again")
    return DayTrials(day, choice, finalists, judged, apart)
