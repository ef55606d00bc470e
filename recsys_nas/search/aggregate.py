"""From the gates of all days to one architecture. No torch: it runs in the controller.

Days are independent estimates of the same question, so a gate is judged by the mean of its probabilities, and the
report shows how far they agree. Agreement alone proves nothing: days may agree on a wrong gate.
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
from recsys_nas.config import ConfigError, load_config, parse_days
from recsys_nas.space import Architecture, Gate, SearchSpace, space_from_config

# Gates this close to one half say neither yes nor no.
UNDECIDED = (0.4, 0.6)


@dataclass(frozen=True)
class GateVerdict:
    """One gate over all days: its probabilities in the order of the days, and whether the architecture keeps it."""

    gate: Gate
    by_day: tuple[float, ...]
    kept: bool

    @property
    def probability(self) -> float:
        return float(np.mean(self.by_day))

    @property
    def std(self) -> float:
        """Standard deviation over the days, as a sample of days; 0 for one day."""
        return float(np.std(self.by_day, ddof=1)) if len(self.by_day) > 1 else 0.0


def judge(gates: Sequence[Gate], by_day: NDArray[np.float64], threshold: float) -> tuple[GateVerdict, ...]:
    """Verdicts from probabilities `[days, gates]`: kept above `threshold` on average; the best one is kept in any case."""
    kept = _kept(by_day.mean(axis=0), threshold)
    return tuple(GateVerdict(gate, tuple(map(float, by_day[:, i])), bool(kept[i])) for i, gate in enumerate(gates))


def derive(space: SearchSpace, verdicts: Sequence[GateVerdict]) -> Architecture:
    """The network of the kept gates, in canonical form."""
    return space.architecture(verdict.gate for verdict in verdicts if verdict.kept).canonical()


def _kept(probabilities: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    kept = probabilities > threshold
    kept[int(probabilities.argmax())] = True
    return kept


def kendall_tau(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two rankings of the same things; NaN when one of them ranks nothing."""
    signs = [np.sign(np.subtract.outer(values, values))[np.triu_indices(len(values), 1)] for values in (first, second)]
    scale = np.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1]).sum())
    return float((signs[0] * signs[1]).sum() / scale) if scale else float("nan")


def agreement(by_day: NDArray[np.float64], threshold: float) -> dict[str, float | None] | None:
    """Mean over all pairs of days of Kendall's tau of the gates and of the Jaccard index of what each day alone keeps.

    None for a single day; a tau of None where no pair of days has rankings to compare.
    """
    pairs = list(itertools.combinations(by_day, 2))
    if not pairs:
        return None
    taus = [tau for a, b in pairs if not math.isnan(tau := kendall_tau(a, b))]
    kept = [(_kept(a, threshold), _kept(b, threshold)) for a, b in pairs]
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in kept]
    return {"kendall_tau": float(np.mean(taus)) if taus else None, "jaccard": float(np.mean(overlaps))}


def aggregate_run(run: Path, searched: Sequence[int] | None = None) -> None:
    """Read the gates of the days `searched` (by default all of the config) and write `<run>/alphas.json` and `<run>/architecture.json`.

    The days of the config that are not among them are written down as missing. Raises ConfigError naming the day when one has not
    been searched, was searched on another space, or left a damaged file.
    """
    config = load_config(run / "config.toml")
    asked = parse_days(config.data.search_days, "data.search_days")
    days = asked if searched is None else tuple(searched)
    schema = open_manifest(config.data.shards).schema
    space = space_from_config(config.space, len(schema.dense), len(schema.categorical), config.embedding.dim)
    by_day = np.array([_day_probabilities(run, day, space) for day in days])
    threshold = config.search.threshold
    verdicts = judge(space.gates, by_day, threshold)
    between = (by_day.mean(axis=0) > UNDECIDED[0]) & (by_day.mean(axis=0) < UNDECIDED[1])
    write_json(
        run / "alphas.json",
        {
            "format_version": 1,
            "method": config.search.aggregation,
            "days": list(days),
            "missing_days": [day for day in asked if day not in days],
            "threshold": threshold,
            "gates": [_gate_json(verdict) for verdict in verdicts],
            "agreement": agreement(by_day, threshold),
            "undecided_share": float(between.mean()),
        },
    )
    write_json(run / "architecture.json", derive(space, verdicts).to_json())


def _day_probabilities(run: Path, day: int, space: SearchSpace) -> list[float]:
    path = run / "days" / f"day={day:02d}" / "alphas.json"
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {Gate(gate["block"], gate["module"]): float(gate["probability"]) for gate in record["gates"]}
    except OSError as error:
        raise ConfigError(f"day {day} has not been searched: {path} is missing; run the search again to do it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error!r}); remove {path.parent} and run the search again") from error
    if set(found) != set(space.gates):
        raise ConfigError(f"{path} is of another search space; remove {path.parent} and run the search again")
    return [found[gate] for gate in space.gates]


def _gate_json(verdict: GateVerdict) -> dict[str, Any]:
    return {
        "block": verdict.gate.block,
        "module": verdict.gate.module,
        "probability": verdict.probability,
        "std": verdict.std,
        "by_day": list(verdict.by_day),
        "kept": verdict.kept,
    }
