"""Search by proxies: networks are scored from weights and gradients on four batches, with little training or none.

Two ways to search: evolution over scores, as SiGeo does it after a warm-up of the supernet on some share of the rows; and a
policy over all choices at once, driven by scores, without any training: the idea of Drs.NAS's superproxy, whose text was
not available. docs/strategies/zero_cost.md has formulas and differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys_nas.search.alone import Finals
from recsys_nas.search.evolution import Evolution, EvolutionSettings
from recsys_nas.search.path_sampling import Policy, SampledPaths
from recsys_nas.search.proxies import score_of
from recsys_nas.search.strategy import Candidates, Proposal, SupernetTraining, Task, Trial
from recsys_nas.search.trial_settings import Proxy, ProxySearcher
from recsys_nas.space import Architecture

WARM, COLD = (50.0, 1.0), (1.0, 0.0)
"""SiGeo's weights of Fisher-Rao and loss, after a warm-up and without."""


@dataclass(frozen=True)
class ZeroCostSettings:
    """`warmup_share` of the budget's rows trains the supernet in which networks are scored, single-operator paths at first beside
    the full network. What is left of the rows is shared out over `finalists`, at least `rows_per_trial` each; with 0 of them, or too
    few rows, nothing else is trained and the best score wins. `judgements`: networks scored."""

    proxy: Proxy
    searcher: ProxySearcher
    warmup_share: float
    judgements: int
    finalists: int
    rows_per_trial: int
    evolution: EvolutionSettings


class ZeroCost:
    """Scores networks, then trains the best of them."""

    def __init__(self, task: Task, settings: ZeroCostSettings) -> None:
        self.task, self.settings = task, settings
        Candidates(task).fresh()  # raises NothingFits before anything is trained
        self._candidates = Candidates(task)
        self._score = score_of(settings.proxy, *(WARM if settings.warmup_share else COLD))
        self._evolution = Evolution(self._candidates, settings.evolution, self._scored_value)
        self._superproxy = Superproxy(task, settings.judgements) if settings.searcher == "superproxy" else None
        rows = task.budget.rows - self.warmup_rows
        self._finals = Finals(self.num_finalists, lambda count: rows // count, self._scored_value)

    @property
    def warmup_rows(self) -> int:
        return int(self.settings.warmup_share * self.task.budget.rows)

    @property
    def num_finalists(self) -> int:
        return min(self.settings.finalists, (self.task.budget.rows - self.warmup_rows) // self.settings.rows_per_trial)

    def supernet(self) -> SupernetTraining | None:
        """Even without a warm-up there is one, of fresh weights: all networks are scored on slices of the same draw."""
        return SupernetTraining(self.warmup_rows, SampledPaths(self.task.space, self.task.seed, 1.0, single=True))

    def ask(self) -> Proposal | None:
        if not self._finals.begun and len(self._finals.judged) < self.settings.judgements and (drawn := self._draw()) is not None:
            return Proposal(drawn, "scored")
        return self._finals.ask()

    def tell(self, trial: Trial) -> None:
        self._finals.tell(trial)
        if trial.proposal.fidelity == "trained":
            return
        self._evolution.tell(trial)
        if self._superproxy is not None:
            self._superproxy.tell(trial.architecture, -self.value(trial))

    def value(self, trial: Trial) -> float:
        return self._finals.value(trial)

    def summary(self) -> Mapping[str, float]:
        return {}

    def choose(self) -> Architecture:
        return self._finals.choose()

    def _draw(self) -> Architecture | None:
        if self._superproxy is None:
            return self._evolution.next()
        return self._candidates.fresh(self._superproxy.draw)

    def _scored_value(self, trial: Trial) -> float:
        return math.inf if trial.failed else -self._score(trial.figures)


class Superproxy:
    """One distribution over every module, width and edge of the space, moved towards what scores well.

    Draws are by Gumbel's trick: of each choice the option is taken whose logit plus temperature times Gumbel noise is largest. The
    rank of a network's score among those of all networks before, in [-1, 1], is its reward in a step of REINFORCE: so scores
    of any scale will do. The temperature falls from 2 to 1/2.
    """

    RATE = 0.3
    FIRST_TEMPERATURE, LAST_TEMPERATURE = 2.0, 0.5

    def __init__(self, task: Task, judgements: int) -> None:
        self.policy = Policy(task.space)
        self.judgements = judgements
        self._generator = np.random.default_rng([task.seed, 7])
        self._scores: list[float] = []
        self._drawn: tuple[Architecture, Tensor] | None = None

    @property
    def temperature(self) -> float:
        done = min(1.0, len(self._scores) / self.judgements)
        return float(self.FIRST_TEMPERATURE * (self.LAST_TEMPERATURE / self.FIRST_TEMPERATURE) ** done)

    def draw(self) -> Architecture:
        """A member of the space."""
        while True:
            noise = torch.from_numpy(self._generator.gumbel(size=self.policy.logits.shape)).to(self.policy.logits)
            values = (self.policy.logits + self.temperature * noise).argmax(1)
            if (architecture := self.policy.choices.decode(values.tolist())) is not None:
                self._drawn = (architecture, values)
                return architecture

    def tell(self, architecture: Architecture, score: float) -> None:
        """`score` of the network drawn last: the higher the better; minus infinity where it could not be scored."""
        assert self._drawn is not None
        assert self._drawn[0] == architecture
        if self._scores:
            below = sum(other < score for other in self._scores) + sum(other == score for other in self._scores) / 2
            reward = 2 * below / len(self._scores) - 1
            self.policy.reinforce(self._drawn[1].unsqueeze(0), torch.tensor([reward]), self.RATE, self.temperature)
        self._scores.append(score)
