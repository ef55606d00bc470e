"""Random search, the control that every other strategy must beat: networks drawn uniformly, each trained alone on as many rows.

Hard to beat in architecture search (Li and Talwalkar, 2019: Random search and reproducibility for neural architecture search).
"""

from __future__ import annotations

from collections.abc import Mapping

from recsys_nas.search.strategy import Candidates, Proposal, SupernetTraining, Task, Trial, best
from recsys_nas.space import Architecture


class RandomSearch:
    """Trains new networks on `rows_per_trial` rows each until the budget ends, and chooses the one of the lowest loss."""

    def __init__(self, task: Task, rows_per_trial: int) -> None:
        self.rows_per_trial = rows_per_trial
        self._candidates = Candidates(task)
        self._trials: list[Trial] = []

    def supernet(self) -> SupernetTraining | None:
        return None

    def ask(self) -> Proposal | None:
        drawn = self._candidates.fresh()
        return None if drawn is None else Proposal(drawn, "trained", self.rows_per_trial)

    def tell(self, trial: Trial) -> None:
        self._trials.append(trial)

    def value(self, trial: Trial) -> float:
        return trial.loss

    def summary(self) -> Mapping[str, float]:
        return {}

    def choose(self) -> Architecture:
        return best(self._trials).architecture
