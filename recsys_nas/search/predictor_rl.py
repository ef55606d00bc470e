"""Search by a predictor and a policy: short trainings teach a ranking predictor, which teaches the policy that draws the next networks.

An implementation of the ideas of Meta's AutoML for large capacity modelling (Yin et al., 2023) and of the sampling half of
Rankitect (Wen et al., 2023); docs/strategies/predictor_rl.md has formulas and differences.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_nas.search.path_sampling import Policy
from recsys_nas.search.predictor import Floats, RankPredictor, held_out_tau
from recsys_nas.search.strategy import Candidates, Proposal, SupernetTraining, Task, TrainingSettings, Trial, best
from recsys_nas.space import Architecture

ROUND = 8
"""Trials between two fits of the predictor."""
POLICY_STEPS, POLICY_BATCH, POLICY_RATE = 20, 32, 0.1
CLIP = 2.0
"""Of the weights by which old records count for the policy of now."""


@dataclass(frozen=True)
class PredictorRLSettings:
    """`flops_weight`: share of FLOPs in the reward. `learning_rates` and `init_scales`: searched together with the network; empty: as
    the config says. `earlier`: trials of other searches of the same space to begin with, one list for each search and day."""

    rows_per_trial: int
    flops_weight: float = 0.0
    learning_rates: tuple[float, ...] = ()
    init_scales: tuple[float, ...] = ()
    earlier: tuple[Sequence[Trial], ...] = ()


@dataclass(frozen=True)
class Record:
    """A measured network: its encoding, its extrapolated NE, its FLOPs, and which search measured it (0: this one)."""

    encoding: Floats
    ne: float
    flops: int
    group: int


class PredictorRL:
    """Trains networks on `rows_per_trial` rows each: the first by chance, the later ones as the policy and the predictor say."""

    def __init__(self, task: Task, settings: PredictorRLSettings) -> None:
        self.task, self.settings = task, settings
        self._candidates = Candidates(task)
        self._generator = np.random.default_rng([task.seed, 11])
        self._options = [
            TrainingSettings(*each) for each in itertools.product(settings.learning_rates or [None], settings.init_scales or [None])
        ]
        self.policy = Policy(task.space)
        self._first_policy = self.policy.log_probabilities()
        self._full_flops = task.price(task.space.full())
        self._predictor: RankPredictor | None = None
        self._trials: list[Trial] = []
        self._records = [self._record(t, group) for group, trials in enumerate(settings.earlier, 1) for t in trials if not t.failed]
        self._own = self._fitted_at = 0
        self._queue: list[tuple[Architecture, TrainingSettings]] = []

    @property
    def num_first(self) -> int:
        """Networks drawn by chance: a fifth of those that the budget pays for, at least a round."""
        return max(ROUND, self.task.budget.rows // self.settings.rows_per_trial // 5)

    def supernet(self) -> SupernetTraining | None:
        return None

    def ask(self) -> Proposal | None:
        if len(self._records) < self.num_first:
            drawn, training = self._candidates.fresh(), self._any_settings()
        else:
            if self._predictor is None or (self._own % ROUND == 0 and self._own != self._fitted_at):
                self._learn()
            drawn, training = self._draw()
        return None if drawn is None else Proposal(drawn, "trained", self.settings.rows_per_trial, training)

    def tell(self, trial: Trial) -> None:
        self._trials.append(trial)
        if not trial.failed:
            self._records.append(self._record(trial, 0))
            self._own += 1

    def value(self, trial: Trial) -> float:
        """The reward, negated: (1 - a) NE + a FLOPs, the NE extrapolated, FLOPs as a share of the full network's."""
        if trial.failed:
            return math.inf
        return self._value(extrapolated(trial), self.task.price(trial.architecture))

    def choose(self) -> Architecture:
        return best(self._trials, self.value).architecture

    def summary(self) -> Mapping[str, float]:
        """Kendall's tau of the predictor on records of this search that it was not fitted on."""
        own = [record for record in self._records if record.group == 0]
        if len(own) < 2:
            return {}
        inputs, values, flops, _ = _columns(own)
        tau = held_out_tau(inputs, values, flops, self.task.seed)
        return {} if math.isnan(tau) else {"predictor_kendall_tau": tau, "predictor_records": float(len(own))}

    def _value(self, ne: float, flops: float) -> float:
        share = self.settings.flops_weight
        return (1 - share) * ne + share * flops / self._full_flops

    def _record(self, trial: Trial, group: int) -> Record:
        encoding = self._encode(trial.architecture, trial.proposal.settings)
        return Record(encoding, extrapolated(trial), self.task.price(trial.architecture), group)

    def _encode(self, architecture: Architecture, training: TrainingSettings) -> Floats:
        chosen = np.array([training == option for option in self._options], np.float64)
        return np.concatenate([self.policy.choices.encode(architecture).astype(np.float64), chosen])

    def _any_settings(self) -> TrainingSettings:
        return self._options[int(self._generator.integers(len(self._options)))]

    def _draw(self) -> tuple[Architecture | None, TrainingSettings]:
        """The best predicted of a batch that the policy draws, then the next best, as long as the predictor stands."""
        training: dict[Architecture, TrainingSettings] = {}

        def draw() -> Architecture:
            if not self._queue:
                self._queue = self._ranked([self.policy.draw(self._generator)[1] for _ in range(POLICY_BATCH)])
            architecture, training[architecture] = self._queue.pop(0)
            return architecture

        # The policy may have settled on networks that are known.
        drawn = self._candidates.fresh(draw) or self._candidates.fresh()
        return drawn, training.get(drawn, self._options[0]) if drawn is not None else self._options[0]

    def _ranked(self, drawn: Sequence[Architecture]) -> list[tuple[Architecture, TrainingSettings]]:
        """The lowest predicted value first, each under the training settings that are best for it: those are few enough to try all."""
        pairs = [(architecture, option) for architecture in drawn for option in self._options]
        values = self._predicted(pairs).reshape(len(drawn), len(self._options))
        chosen = [pairs[row * len(self._options) + int(values[row].argmin())] for row in range(len(drawn))]
        return [chosen[row] for row in np.argsort(values.min(1), kind="stable")]

    def _predicted(self, pairs: Sequence[tuple[Architecture, TrainingSettings]]) -> Floats:
        """Values `[pairs]` on the scale of what was measured."""
        assert self._predictor is not None
        scores = self._predictor.predict(np.stack([self._encode(*pair) for pair in pairs]))
        # One group's NE: those of other days are on other scales.
        latest = self._records[-1].group
        measured = np.array([record.ne for record in self._records if record.group == latest])
        ne = measured.mean() + scores * measured.std()
        flops = np.array([self.task.price(architecture) for architecture, _ in pairs], np.float64)
        share = self.settings.flops_weight
        return np.asarray((1 - share) * ne + share * flops / self._full_flops)

    def _learn(self) -> None:
        """Fit the predictor to all records, then move the policy by them (off-policy) and by what the predictor says (on-policy)."""
        self._predictor = RankPredictor(self.task.seed)
        self._predictor.fit(*_columns(self._records))
        self._fitted_at = self._own
        width = self.policy.choices.width
        seen = torch.from_numpy(np.stack([record.encoding[:width] for record in self._records])).float()
        worth = self._advantages_of_records()
        for _ in range(POLICY_STEPS):
            ratio = (self.policy.log_likelihood(seen) - self.policy.log_likelihood(seen, self._first_policy)).exp()
            self.policy.reinforce_encoded(seen, worth * ratio.clamp(max=CLIP), POLICY_RATE)
            drawn = [self.policy.draw(self._generator)[1] for _ in range(POLICY_BATCH)]
            values = self._predicted([(architecture, self._options[0]) for architecture in drawn])
            encoded = torch.from_numpy(np.stack([self.policy.choices.encode(architecture) for architecture in drawn]))
            self.policy.reinforce_encoded(encoded, _advantages(-values), POLICY_RATE)
        self._queue = []

    def _advantages_of_records(self) -> Tensor:
        """In standard deviations of each search, for their scales differ."""
        groups = np.array([record.group for record in self._records])
        rewards = np.array([-self._value(record.ne, record.flops) for record in self._records])
        found = torch.zeros(len(rewards))
        for group in np.unique(groups):
            found[torch.from_numpy(groups == group)] = _advantages(rewards[groups == group])
        return found


def extrapolated(trial: Trial) -> float:
    """NE_long = NE_short + slope, the fall of the progressive NE over the last quarter of the short run; log loss where there is no NE."""
    return trial.figures.get("ne", trial.loss) + trial.figures.get("slope", 0.0)


def _advantages(rewards: Floats) -> Tensor:
    """Rewards less their mean, in standard deviations."""
    return torch.from_numpy((rewards - rewards.mean()) / (rewards.std() + 1e-9)).float()


def _columns(records: Sequence[Record]) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    return (
        np.stack([record.encoding for record in records]),
        np.array([record.ne for record in records]),
        np.array([record.flops for record in records], np.float64),
        np.array([record.group for record in records], np.int64),
    )
