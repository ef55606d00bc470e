"""How far days agree about the gates, whether they drift, and what fewer days would have given. Agreement alone proves nothing: days may
agree on a wrong gate. No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_nas.space import Gate

Floats = NDArray[np.float64]
Keep = Callable[[Floats, Sequence[int]], NDArray[np.bool_]]
"""From probabilities `[days, gates]` of these days to the gates kept, bool `[gates]`."""
# A warning, not a proof: with many gates some pass by chance.
DRIFT_P, DRIFT_CHANGE = 0.05, 0.2


@dataclass(frozen=True)
class Drift:
    """A gate's trend: what its probability gains a day (least squares), and how likely so clear an order of the days is by chance
    (the exact two-sided test of Mann, 1945, on Kendall's S)."""

    per_day: float
    p_value: float

    def is_warning(self, span: int) -> bool:
        """Whether it is unlikely to be chance, and moves the probability by much over `span` days."""
        return self.p_value < DRIFT_P and abs(self.per_day) * span > DRIFT_CHANGE


def kendall_tau(first: Floats, second: Floats) -> float:
    """Kendall's tau-b of two rankings of the same things; NaN when one of them ranks nothing."""
    signs = [np.sign(np.subtract.outer(values, values))[np.triu_indices(len(values), 1)] for values in (first, second)]
    scale = np.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1]).sum())
    return float((signs[0] * signs[1]).sum() / scale) if scale else float("nan")


def jaccard(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """What two networks share of the modules that either keeps."""
    return float((first & second).sum() / (first | second).sum())


def agreement(by_day: Floats, days: Sequence[int], keep: Keep) -> dict[str, float | None] | None:
    """Mean over all pairs of days of Kendall's tau of the gates and of the Jaccard index of what each day alone keeps.

    None for a single day; a tau of None where no pair of days has rankings to compare.
    """
    if len(days) < 2:
        return None
    taus = [tau for a, b in itertools.combinations(by_day, 2) if not math.isnan(tau := kendall_tau(a, b))]
    alone = [keep(by_day[i : i + 1], days[i : i + 1]) for i in range(len(days))]
    overlaps = [jaccard(a, b) for a, b in itertools.combinations(alone, 2)]
    return {"kendall_tau": float(np.mean(taus)) if taus else None, "jaccard": float(np.mean(overlaps))}


def drift(by_day: Floats, days: Sequence[int]) -> list[Drift] | None:
    """The trend of each gate over the days; None for fewer than 5 days, of which no order is unlikely: that of four has p = .083."""
    if len(days) < 5:
        return None
    at = np.asarray(days, np.float64)
    centred = at - at.mean()
    slopes = centred @ by_day / (centred @ centred)
    return [Drift(float(slope), _mann_kendall(at, values)) for slope, values in zip(slopes, by_day.T, strict=True)]


def _mann_kendall(at: Floats, values: Floats) -> float:
    """Probability of an order of the values that follows the days, or their reverse, at least as closely."""
    count = len(at)
    pairs = np.triu_indices(count, 1)
    observed = abs(float((np.sign(np.subtract.outer(at, at)) * np.sign(np.subtract.outer(values, values)))[pairs].sum()))
    # Number of orders with each number of inversions, built up element by element.
    orders = np.ones(1)
    for size in range(2, count + 1):
        orders = np.convolve(orders, np.ones(size))
    sums = len(pairs[0]) - 2 * np.arange(len(orders))
    return float(orders[np.abs(sums) >= observed].sum() / orders.sum())


def growth(by_day: Floats, days: Sequence[int], gates: Sequence[Gate], keep: Keep) -> list[dict[str, Any]]:
    """What the first 1, 2, 4, ... days alone would have kept, up to all of them."""
    final = keep(by_day, days)
    counts = sorted({*(2**i for i in range(len(days).bit_length()) if 2**i < len(days)), len(days)})
    told = []
    for count in counts:
        kept = keep(by_day[:count], days[:count])
        told.append({"days": list(days[:count]), "kept": _names(gates, kept), "jaccard_to_all": jaccard(kept, final)})
    return told


def without_each(by_day: Floats, days: Sequence[int], gates: Sequence[Gate], keep: Keep) -> list[dict[str, Any]]:
    """What would be kept more, and less, if one day were missing; empty for a single day."""
    if len(days) < 2:
        return []
    final = keep(by_day, days)
    told = []
    for i, day in enumerate(days):
        kept = keep(np.delete(by_day, i, axis=0), [*days[:i], *days[i + 1 :]])
        changes = {"added": _names(gates, kept & ~final), "removed": _names(gates, final & ~kept)}
        told.append({"day": day, **changes, "jaccard_to_all": jaccard(kept, final)})
    return told


def _names(gates: Sequence[Gate], kept: NDArray[np.bool_]) -> list[str]:
    return [str(gate) for gate, is_kept in zip(gates, kept, strict=True) if is_kept]
