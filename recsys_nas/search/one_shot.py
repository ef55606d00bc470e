"""One-shot search: one supernet is trained path by path, networks are compared by its weights, the best are trained alone.

An implementation of the idea of NASRec (Zhang et al., 2023), and of Rankitect's variant (Wen et al., 2023), in which a policy
picks the paths; docs/strategies/one_shot.md says where it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys_nas.search.alone import Finals
from recsys_nas.search.evolution import Evolution, EvolutionSettings
from recsys_nas.search.path_sampling import LearntPaths, SampledPaths
from recsys_nas.search.strategy import Candidates, Proposal, SupernetTraining, Task, Trial, loss_of
from recsys_nas.space import Architecture

PathSampling = Literal["single", "uniform", "policy"]


@dataclass(frozen=True)
class OneShotSettings:
    """`sampling` of paths; `full_share` of the training warms up on the full network (for the policy: teaches it nothing).

    `judgements`: networks compared by the supernet's weights. `finalists`: of these, trained alone on `rows_per_trial` rows each.
    `baseline`: rewards of paths are relative to a network co-trained in place.
    """

    sampling: PathSampling
    full_share: float
    judgements: int
    finalists: int
    rows_per_trial: int
    evolution: EvolutionSettings
    baseline: bool = False


class OneShot:
    """Evolution over the supernet's validation loss, or draws of the policy that was trained with it; then the finalists."""

    def __init__(self, task: Task, settings: OneShotSettings) -> None:
        self.task, self.settings = task, settings
        self._candidates = Candidates(task)
        self._candidates.fresh()  # raises NothingFits before anything is trained
        self._candidates = Candidates(task)
        self._evolution = Evolution(self._candidates, settings.evolution)
        self._generator = np.random.default_rng(task.seed)
        self._finals = Finals(self.num_finalists, lambda _: settings.rows_per_trial, loss_of)
        rest = settings.full_share
        self.sampler = (
            LearntPaths(task.space, task.seed, rest)
            if settings.sampling == "policy"
            else SampledPaths(task.space, task.seed, rest, settings.sampling == "single")
        )

    @property
    def num_finalists(self) -> int:
        """At most half of the rows go to them."""
        return min(self.settings.finalists, self.task.budget.rows // 2 // self.settings.rows_per_trial)

    def supernet(self) -> SupernetTraining | None:
        rows = self.task.budget.rows - self.num_finalists * self.settings.rows_per_trial
        return SupernetTraining(rows, self.sampler, self.task.space.full() if self.settings.baseline else None)

    def ask(self) -> Proposal | None:
        if not self._finals.begun and len(self._finals.judged) < self.settings.judgements:
            drawn = self._evolution.next() if isinstance(self.sampler, SampledPaths) else self._drawn()
            if drawn is not None:
                return Proposal(drawn, "shared")
        return self._finals.ask()

    def tell(self, trial: Trial) -> None:
        self._finals.tell(trial)
        if trial.proposal.fidelity == "shared":
            self._evolution.tell(trial)

    def value(self, trial: Trial) -> float:
        return self._finals.value(trial)

    def summary(self) -> Mapping[str, float]:
        return {}

    def choose(self) -> Architecture:
        return self._finals.choose()

    def _drawn(self) -> Architecture | None:
        """By the policy, or by chance where it has settled on networks that are known, or on such as cost too much."""
        assert isinstance(self.sampler, LearntPaths)
        policy = self.sampler.policy
        return self._candidates.fresh(lambda: policy.draw(self._generator)[1]) or self._candidates.fresh()
