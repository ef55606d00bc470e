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
    strategies that judge otherwise, and handed over by the day in any case.
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

    def __post_init__(self) -> None:
        for name in ("rows", "max_flops", "seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be finite, and 0 or more")
        for name in ("validation_rows", "rows_per_trial", "finalists", "population", "tournament", "children"):
            if getattr(self, name) < 1:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be 1 or more")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"trials.validation_share = {self.validation_share}: must lie between 0 and 1")
        if self.population < 2 or self.tournament > self.population:
            raise ValueError("trials.population must be 2 or more, and trials.tournament no larger than it")
