"""Networks trained alone: as a whole strategy, and as the end of one that judges otherwise first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from recsys_nas.search.strategy import Proposal, SupernetTraining, Trial, Value, best
from recsys_nas.space import Architecture


class Proposer(Protocol):
    """Says which network comes next."""

    def next(self) -> Architecture | None:
        """None when no new one is found."""
        ...

    def tell(self, trial: Trial) -> None: ...


class TrainedAlone:
    """Trains each network that a proposer names on `rows_per_trial` rows until the budget ends, and chooses that of the lowest loss."""

    def __init__(self, proposer: Proposer, rows_per_trial: int) -> None:
        self.proposer, self.rows_per_trial = proposer, rows_per_trial
        self._trials: list[Trial] = []

    def supernet(self) -> SupernetTraining | None:
        return None

    def ask(self) -> Proposal | None:
        drawn = self.proposer.next()
        return None if drawn is None else Proposal(drawn, "trained", self.rows_per_trial)

    def tell(self, trial: Trial) -> None:
        self._trials.append(trial)
        self.proposer.tell(trial)

    def value(self, trial: Trial) -> float:
        return trial.loss

    def summary(self) -> Mapping[str, float]:
        return {}

    def choose(self) -> Architecture:
        return best(self._trials).architecture


class Finals:
    """The trials of a strategy that judges many networks cheaply, by `cheap_value`, and trains the best `count` of them alone.

    `rows`: of each of these trainings, from how many there are.
    """

    def __init__(self, count: int, rows: Callable[[int], int], cheap_value: Value) -> None:
        self.count, self.rows, self.cheap_value = count, rows, cheap_value
        self.judged: list[Trial] = []
        self._trained: list[Trial] = []
        self._finalists: list[Architecture] | None = None

    @property
    def begun(self) -> bool:
        """Whether the finalists stand, and nothing is judged cheaply any more."""
        return self._finalists is not None

    def ask(self) -> Proposal | None:
        """The next finalist; None when all are trained."""
        if self._finalists is None:
            done = sorted((trial for trial in self.judged if not trial.failed), key=self.cheap_value)
            self._finalists = [trial.architecture for trial in done[: self.count]]
        if len(self._trained) == len(self._finalists):
            return None
        return Proposal(self._finalists[len(self._trained)], "trained", self.rows(len(self._finalists)))

    def tell(self, trial: Trial) -> None:
        (self._trained if trial.proposal.fidelity == "trained" else self.judged).append(trial)

    def value(self, trial: Trial) -> float:
        if trial.failed:
            return math.inf
        return trial.loss if trial.proposal.fidelity == "trained" else self.cheap_value(trial)

    def choose(self) -> Architecture:
        """The best finalist, or where none could be trained the best by its cheap judgement."""
        trained = any(not trial.failed for trial in self._trained)
        return best(self._trained if trained else self.judged, self.value).architecture
