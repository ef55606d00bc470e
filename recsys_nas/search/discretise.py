"""From what all days say of each gate to those that are kept: one score a gate, then a rule. Never empty. No torch, unless it prices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_nas.config import ConfigError
from recsys_nas.search_config import SearchConfig
from recsys_nas.space import Gate, SearchSpace

Floats = NDArray[np.float64]
MAJORITY = 0.5


def scores(by_day: Floats, days: Sequence[int], search: SearchConfig) -> Floats:
    """One score a gate `[gates]` from probabilities `[days, gates]` of these days, by `search.aggregation`.

    `mean` of the probabilities; `logit_mean`: the sigmoid of the mean of their logits; `majority`: the share of days above the
    threshold; `recency`: the mean with weights that halve with every `recency_half_life` days before the last.
    """
    if search.aggregation == "majority":
        return np.asarray((by_day > search.threshold).mean(axis=0))
    if search.aggregation == "logit_mean":
        inside = by_day.clip(1e-6, 1 - 1e-6)
        return np.asarray(1 / (1 + np.exp(-np.log(inside / (1 - inside)).mean(axis=0))))
    if search.aggregation == "recency":
        weights = 0.5 ** ((max(days) - np.asarray(days)) / search.recency_half_life)
        return np.asarray(weights @ by_day / weights.sum())
    return np.asarray(by_day.mean(axis=0))


@dataclass(frozen=True)
class Discretisation:
    """Which gates are kept, by their scores. `price`: dense FLOPs of the network of some gates; `expected`: those that probabilities
    `[gates]` stand for."""

    gates: tuple[Gate, ...]
    search: SearchConfig
    price: Callable[[Iterable[Gate]], int]
    expected: Callable[[Floats], float]

    @property
    def cut(self) -> float:
        """What a score must be above; of a majority, one half of the days."""
        return MAJORITY if self.search.aggregation == "majority" else self.search.threshold

    @property
    def limit(self) -> float:
        """Dense FLOPs that the network may have."""
        return self.search.target_flops or math.inf

    def keep(self, by_day: Floats, days: Sequence[int]) -> NDArray[np.bool_]:
        """The kept gates, bool `[gates]`, from probabilities `[days, gates]`. Raises ConfigError when no gate fits the target."""
        score = scores(by_day, days, self.search)
        # Of equal scores, as votes often are, the one with the higher probability comes first.
        best_first = np.lexsort((-by_day.mean(axis=0), -score)).tolist()
        kept = np.zeros(len(score), np.bool_)
        if self.search.discretise == "top_k":
            kept[(self._fitting(best_first) or [self._best_that_fits(best_first)])[: self.search.top_k]] = True
        elif self.search.discretise == "budget":
            kept[self._fitting(best_first) or [self._best_that_fits(best_first)]] = True
        else:
            above = [number for number in best_first if score[number] > self.cut]
            kept[self._fitting(above) or self._as_dear_as_expected(best_first, by_day.mean(axis=0))] = True
        return kept

    def _fitting(self, best_first: Sequence[int]) -> list[int]:
        """From the best down, whatever still fits beside those before it."""
        taken: list[int] = []
        for number in best_first:
            if self._price([*taken, number]) <= self.limit:
                taken.append(number)
        return taken

    def _as_dear_as_expected(self, best_first: Sequence[int], probabilities: Floats) -> list[int]:
        """The best gate that fits and those after it, as long as they cost no more than what the day trained: many gates that are each
        more likely shut than open still stand for a network, and the best of them alone may be far from it."""
        best = self._best_that_fits(best_first)
        budget, taken = min(self.limit, self.expected(probabilities)), [best]
        for number in (number for number in best_first if number != best):
            if self._price([*taken, number]) > budget:
                break
            taken.append(number)
        return taken

    def _best_that_fits(self, best_first: Sequence[int]) -> int:
        costs = {number: self._price([number]) for number in best_first}
        fitting = (number for number, cost in costs.items() if cost <= self.limit)
        if (best := next(fitting, None)) is None:
            cheapest = min(costs, key=lambda number: costs[number])
            least = f"the cheapest network, {self.gates[cheapest]} alone, needs {costs[cheapest]}"
            raise ConfigError(f"search.target_flops = {self.search.target_flops}: {least}; raise it, or make the space narrower")
        return best

    def check_target(self) -> None:
        """Raises ConfigError when no gate alone fits the target."""
        self._best_that_fits(range(len(self.gates)))

    def _price(self, numbers: Iterable[int]) -> int:
        return self.price(self.gates[number] for number in numbers)

    def survives(self, decoys: Floats, by_day: Floats, days: Sequence[int]) -> NDArray[np.bool_]:
        """Which decoys, of probabilities `[days, decoys]`, would have been kept on their merits had they been real: above the cut, or by a
        rule without one above the last that it keeps. A real gate that is kept for want of a better one is no measure."""
        score = scores(by_day, days, self.search)
        floor = self.cut if self.search.discretise == "threshold" else float(score[self.keep(by_day, days)].min())
        return np.asarray(scores(decoys, days, self.search) > floor)


def discretisation(space: SearchSpace, search: SearchConfig) -> Discretisation:
    """The rule that `search` asks for, over a space."""

    def price(kept: Iterable[Gate]) -> int:
        from recsys_nas.cost import dense_flops

        return dense_flops(space.architecture(kept))

    def expected(probabilities: Floats) -> float:
        from torch import tensor

        from recsys_nas.cost import expected_dense_flops

        return float(expected_dense_flops(space, dict(zip(space.gates, tensor(probabilities), strict=True))))

    return Discretisation(space.gates, search, price, expected)
