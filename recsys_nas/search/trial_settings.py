"""What a user may set about the searches that go trial by trial. No torch here: the config is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

StrategyName = Literal["dnas", "one_shot", "predictor_rl", "zero_cost", "evolution", "random"]
Proxy = Literal["sigeo", "zico", "fisher_rao", "grad_norm", "synflow", "loss", "flops", "params"]
ProxySearcher = Literal["evolution", "superproxy"]


@dataclass(frozen=True)
class TrialsConfig:
    """Budget and settings of every search strategy but `dnas`, for one day.

    `rows`: training rows in all (0: as many as the day has); `seconds`: 0, no limit. `max_flops`: dense FLOPs that a network may
    have at most (0: any). `validation_share` of the day, its last rows, judges networks (at most `validation_rows`) and is never
    trained on. `rows_per_trial`: of each training of one network alone. `finalists`: networks trained alone at the end by
    strategies that judge otherwise, and handed over by the day in any case (at least one). `population`, `tournament` and `children` a
    generation are those of evolution.

    Of a supernet: `judgements` are made with its weights, or by proxies. `path_sampling`: one module a stream, any member
    uniformly, or by a policy that learns from rewards, relative to a co-trained network where `reward_baseline`. The full network
    is trained instead with a probability that falls to 0 over the first `full_path_share` of the rows. Before a network is judged,
    its last layer alone is tuned on `finetune_rows` training rows (0: not at all). Its weights learn by Adagrad with
    `supernet_learning_rate` and `supernet_eps`.

    Of `zero_cost`: `proxy` scores `judgements` networks in a supernet trained on `proxy_warmup_share` of the rows (0: not at all),
    drawn by `proxy_searcher`. With `finalists` = 0 the best score wins, and nothing else is trained.

    Of `predictor_rl`: the reward is -(1 - `flops_weight`) NE - `flops_weight` FLOPs, these as a share of the full network's.
    `learning_rates` and `init_scales` (of the tables) are searched with the network; empty: as the config says. `warm_start`: the
    folder of an earlier run on the same space, whose trained networks are learnt from too.
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
    proxy: Proxy = "sigeo"
    proxy_searcher: ProxySearcher = "evolution"
    proxy_warmup_share: float = 0.1
    flops_weight: float = 0.0
    learning_rates: tuple[float, ...] = ()
    init_scales: tuple[float, ...] = ()
    warm_start: str = ""

    def __post_init__(self) -> None:
        for name in ("rows", "max_flops", "seconds", "finetune_rows", "finalists"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be finite, and 0 or more")
        for name in ("validation_rows", "rows_per_trial", "population", "tournament", "children", "judgements"):
            if getattr(self, name) < 1:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be 1 or more")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"trials.validation_share = {self.validation_share}: must lie between 0 and 1")
        for name in ("supernet_learning_rate", "supernet_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must be finite and above 0")
        for name in ("full_path_share", "proxy_warmup_share", "flops_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"trials.{name} = {getattr(self, name)}: must lie in [0, 1]")
        for name in ("learning_rates", "init_scales"):
            if not all(0 < value < math.inf for value in getattr(self, name)):
                raise ValueError(f"trials.{name} = {list(getattr(self, name))}: all must be finite and above 0")
        if self.reward_baseline and self.path_sampling != "policy":
            raise ValueError("trials.reward_baseline = true: goes with trials.path_sampling = 'policy', the others learn from no reward")
        if self.population < 2 or self.tournament > self.population:
            raise ValueError("trials.population must be 2 or more, and trials.tournament no larger than it")
