"""From the gates of all days to one architecture. No torch, unless for the price of a budget: it runs in the controller.

Days are independent estimates of the same question, so a gate is judged over all of them, and the report shows how far they agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.atomic import write_json
from data_prep.shards import open_manifest
from recsys_nas.config import Config, ConfigError, load_config, parse_days
from recsys_nas.search.agreement import Drift, agreement, drift, growth, without_each
from recsys_nas.search.day_results import check_settings, day_result, made_of
from recsys_nas.search.discretise import Discretisation, discretisation, scores
from recsys_nas.search_config import UNDECIDED
from recsys_nas.space import Architecture, Gate, SearchSpace, space_from_config

Floats = NDArray[np.float64]
SEQUENTIAL = "sequential"
"""Folder, in a run's, of the control that searches all days in one go."""

DECOY_SURVIVED = (
    "a decoy survived, so this search cannot be believed (alphas.json, `decoys`): search more rows, or raise search.cost_weight"
)


@dataclass(frozen=True)
class Days:
    """What days say: probabilities `[days, gates]` of the gates of a space, and of decoys, `[days, decoys]`."""

    days: tuple[int, ...]
    gates: Floats
    decoys: Floats
    decoy_gates: tuple[Gate, ...]


def aggregate_run(run: Path, searched: Sequence[int] | None = None, config: Config | None = None, out: Path | None = None) -> bool:
    """Read the gates of the days `searched` (by default all of the config) and write `alphas.json` and `architecture.json` to `out`.

    `config` and `out` are by default those of the run: others show what another rule would have given. The days of the config that
    are not among them are written down as missing. Returns whether no decoy survived. Raises ConfigError naming the day when one has
    not been searched, was searched on another space, or left a damaged file.
    """
    config, out = config or load_config(run / "config.toml"), out or run
    asked = parse_days(config.data.search_days, "data.search_days")
    days = asked if searched is None else tuple(searched)
    manifest = open_manifest(config.data.shards)
    schema = manifest.schema
    space = space_from_config(config.space, len(schema.dense), len(schema.categorical), config.embedding.dim)
    said = _read_days({day: day_result(run, day, "alphas.json") for day in days}, space)
    check_settings(run, days, load_config(run / "config.toml"), manifest)
    rule = discretisation(space, config.search)
    kept = rule.keep(said.gates, said.days)
    told = {"format_version": 1, "days": list(days), "missing_days": [day for day in asked if day not in days]}
    told["made_of"] = made_of(run, asked, config.search.day_result)
    told |= _verdict(said, rule, kept)
    # Last, since it is what tells that the architecture is that of these days.
    write_json(out / "architecture.json", derived(space, kept).to_json())
    write_json(out / "alphas.json", told)
    return bool(told["valid"])


def derive_alone(config: Config, space: SearchSpace, folder: Path) -> None:
    """Write `<folder>/architecture.json` from the one search in it."""
    said = _read_days({0: folder / "alphas.json"}, space)
    kept = discretisation(space, config.search).keep(said.gates, said.days)
    write_json(folder / "architecture.json", derived(space, kept).to_json())


def derived(space: SearchSpace, kept: NDArray[np.bool_]) -> Architecture:
    """The network of the kept gates, bool `[gates]`, in canonical form."""
    return space.architecture(gate for gate, is_kept in zip(space.gates, kept, strict=True) if is_kept).canonical()


def _verdict(said: Days, rule: Discretisation, kept: NDArray[np.bool_]) -> dict[str, Any]:
    """All of alphas.json but which days there are."""
    search, days = rule.search, said.days
    trends = drift(said.gates, days)
    span = days[-1] - days[0]
    survived = rule.survives(said.decoys, said.gates, days)
    mean, score = said.gates.mean(axis=0), scores(said.gates, days, search)
    return {
        "method": search.aggregation,
        "discretise": search.discretise,
        "threshold": search.threshold,
        "cut": rule.cut,
        "target_flops": search.target_flops or None,
        "valid": not survived.any(),
        "kept_for_want_of_better": bool(search.discretise == "threshold" and (score[kept] <= rule.cut).all()),
        "gates": _gates_json(rule.gates, said.gates, score, "kept", kept, trends),
        "decoys": _gates_json(said.decoy_gates, said.decoys, scores(said.decoys, days, search), "survived", survived),
        "agreement": agreement(said.gates, days, rule.keep),
        "undecided_share": float(((mean > UNDECIDED[0]) & (mean < UNDECIDED[1])).mean()),
        "drifting": [str(gate) for gate, trend in zip(rule.gates, trends or [], strict=False) if trend.is_warning(span)],
        "growth": growth(said.gates, days, rule.gates, rule.keep),
        "without_day": without_each(said.gates, days, rule.gates, rule.keep),
    }


def _gates_json(
    gates: Sequence[Gate],
    by_day: Floats,
    score: Floats,
    verdict: str,
    verdicts: NDArray[np.bool_],
    trends: Sequence[Drift] | None = None,
) -> list[dict[str, Any]]:
    """One entry a gate. `std` is that of a sample of days, 0 for one day."""
    several = len(by_day) > 1
    return [
        {
            "block": gate.block,
            "module": gate.module,
            "probability": float(by_day[:, i].mean()),
            "score": float(score[i]),
            "std": float(by_day[:, i].std(ddof=1)) if several else 0.0,
            "by_day": by_day[:, i].tolist(),
            verdict: bool(verdicts[i]),
            **({"drift_per_day": trends[i].per_day, "drift_p": trends[i].p_value} if trends else {}),
        }
        for i, gate in enumerate(gates)
    ]


def _read_days(files: Mapping[int, Path], space: SearchSpace) -> Days:
    read = [_read_day(path, day, space) for day, path in files.items()]
    decoy_gates = read[0][2]
    for (day, path), (_, _, others) in zip(files.items(), read, strict=True):
        if others != decoy_gates:
            raise ConfigError(
                f"day {day} was searched with other decoys than day {min(files)}; remove {path.parent} and run the search again"
            )
    gates, decoys = np.array([day[0] for day in read]), np.array([day[1] for day in read]).reshape(len(read), -1)
    return Days(tuple(files), gates, decoys, decoy_gates)


def _read_day(path: Path, day: int, space: SearchSpace) -> tuple[list[float], list[float], tuple[Gate, ...]]:
    """Probabilities of the space's gates and of decoys, and whose twins these are."""
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {Gate(gate["block"], gate["module"]): float(gate["probability"]) for gate in record["gates"]}
        decoys = [(Gate(decoy["block"], decoy["module"]), float(decoy["probability"])) for decoy in record.get("decoys", [])]
        if wrong := [p for p in (*found.values(), *(p for _, p in decoys)) if not 0 <= p <= 1]:
            raise ValueError(f"{wrong[0]} is no probability")
    except OSError as error:
        raise ConfigError(f"day {day} has not been searched: {path} is missing; search it, or leave it out") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error!r}); remove {path.parent} and run the search again") from error
    if set(found) != set(space.gates):
        raise ConfigError(f"{path} is of another search space; remove {path.parent} and run the search again")
    return [found[gate] for gate in space.gates], [p for _, p in decoys], tuple(gate for gate, _ in decoys)
