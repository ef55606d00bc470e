"""What a user may set about the searches that go trial by trial. No torch here: the config is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

StrategyName = Literal["dnas", "one_shot", "predictor_rl", "zero_cost", "evolution", "random"]


@dataclass(frozen=True)
class TrialsConfig:
    """Budget and settings of every search strategy but `dnas`, for one day.

    `rows`: training rows in all (0: as many as the day has); `seconds`: 0, no limit. `max_flops`: dense FLOPs that a network may
    have at most (0: any). `validation_share` of the day, its last rows, judges networks (at most `validation_rows`) and is never
    trained on. `rows_per_trial`: of each training of one network alone. `finalists`: networks trained alone at the end by
    strategies that judge otherwise, and handed over by the day in any case. `population`, `tournament` and `children` a
    generation are those of evolution.

    Of a supernet: `judgements` are made with its weights, or by proxies. `path_sampling`: one module a stream, any member
    uniformly, or by a policy that learns from rewards, relative to a co-trained network where `reward_baseline`. The full network
    is trained instead with a probability that falls to 0 over the first `full_path_share` of the rows. Before a network is judged,
    its last layer alone is tuned on `finetune_rows` training rows (0: not at all). Its weights learn by Adagrad with
    `supernet_learning_rate` and `supernet_eps`.
    """

    rows: int = 0
    seconds: float = 0.0
    max_flops: int = 0
    validation_share: float = 0.1
    validation_rows: int = 100_000
    rows_per_trial: int = 20_000
    finalists: int = 5
    population: int = 128
    tournament: int = 64
    children: int = 8
    judgements: int = 256
    path_sampling: Literal["single", "uniform", "policy"] = "single"
    full_path_share: float = 0.1
    finetune_rows: int = 20_000
    reward_baseline: bool = False
    supernet_learning_rate: float = 0.05
    supernet_eps: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("rows", "max_flops", "seconds", "finetune_rows"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be finite, and 0 or more")
        for name in ("validation_rows", "rows_per_trial", "finalists", "population", "tournament", "children", "judgements"):
            if getattr(self, name) < 1:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be 1 or more")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"trials.validation_share = {self.validation_share}: must lie between 0 and 1")
        for name in ("supernet_learning_rate", "supernet_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be finite and above 0")
        if not 0 <= self.full_path_share <= 1:
            raise ValueError(f"trials.full_path_share = {self.full_path_share}: must lie in [0, 1]")
        if self.reward_baseline and self.path_sampling != "policy":
            raise ValueError("trials.reward_baseline = true: goes with trials.path_sampling = 'policy', the others learn from no reward")
        if self.population < 2 or self.tournament > self.population:
            raise ValueError("trials.population must be 2 or more, and trials.tournament no larger than it")
