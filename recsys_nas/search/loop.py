"""Runs a strategy against a workbench within a budget: the one loop of all searches that go trial by trial."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from recsys_nas.search.journal import Journal
from recsys_nas.search.strategy import Proposal, SearchError, Strategy, Task, Trial, TrialFailed, Workbench
from recsys_nas.space import Architecture

# So many failures in a row are no bad luck with networks.
MAX_FAILURES_IN_A_ROW = 20


@dataclass
class Spent:
    """What a search has used so far, and the trials that it was used for."""

    rows: int = 0
    seconds: float = 0.0
    trials: list[Trial] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.rows += trial.rows
        self.seconds += trial.seconds


Watcher = Callable[[Spent], None]
"""Called after each new trial."""


@dataclass(frozen=True)
class Search:
    """A strategy on its task, with where it is judged and where its trials are written down.

    `watch` sees how it goes; `clock` counts seconds.
    """

    strategy: Strategy
    task: Task
    bench: Workbench
    journal: Journal
    watch: Watcher = lambda spent: None
    clock: Callable[[], float] = time.monotonic

    def run(self) -> tuple[Architecture, Spent]:
        """Go on from the journal until the budget ends or the strategy has seen enough; the architecture, and what it took.

        The rows of the budget decide alone, so that a search killed and resumed gives the same result, unless its seconds run
        out first. Raises NothingFits, and SearchError when no network could be judged or the journal is of another search.
        """
        spent, training, budget = Spent(), self.strategy.supernet(), self.task.budget
        if training is not None:
            spent.rows += training.rows
            spent.seconds += self.bench.train_supernet(training)
        for trial in self.journal.open():
            self._replay(trial)
            spent.add(trial)
        while spent.seconds < budget.seconds:
            proposal = self.strategy.ask()
            if proposal is None or spent.rows + proposal.rows > budget.rows:
                break
            trial = self._judge(proposal)
            self.journal.add(trial)
            self.strategy.tell(trial)
            spent.add(trial)
            self.watch(spent)
            self._check_failures(spent)
        return self.strategy.choose(), spent

    def _replay(self, trial: Trial) -> None:
        proposal = self.strategy.ask()
        if proposal != trial.proposal:
            raise SearchError(
                f"{self.journal.path} holds trials that this program would not have made: it is of another release; "
                f"remove {self.journal.path.parent} and search that day again"
            )
        self.strategy.tell(trial)

    def _judge(self, proposal: Proposal) -> Trial:
        began = self.clock()
        try:
            figures, failed = dict(self.bench.judge(proposal)), ""
            if wrong := [name for name, value in figures.items() if not math.isfinite(value)]:
                figures, failed = {}, f"{', '.join(wrong)}: not finite"
        except TrialFailed as error:
            figures, failed = {}, str(error) or type(error).__name__
        return Trial(proposal, figures, self.clock() - began, failed)

    @staticmethod
    def _check_failures(spent: Spent) -> None:
        last = spent.trials[-MAX_FAILURES_IN_A_ROW:]
        if len(last) == MAX_FAILURES_IN_A_ROW and all(trial.failed for trial in last):
            raise SearchError(f"{MAX_FAILURES_IN_A_ROW} networks in a row could not be judged, the last one: {last[-1].failed}")
