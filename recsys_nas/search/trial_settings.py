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
    """Budget and settings of every search strategy but `dnas`, for one day; docs/strategies.md tells what each strategy does with them.

    Of `zero_cost` with `finalists` = 0 the best score wins, and nothing else is trained.
    """

    rows: int = 0
    """Training rows in all; 0: as many as the day has."""
    seconds: float = 0.0
    """Time in all; 0: no limit."""
    max_flops: int = 0
    """Dense FLOPs that a network may have at most; 0: any."""
    validation_share: float = 0.1
    """Of the day, its last rows, which judge networks and are never trained on."""
    validation_rows: int = 100_000
    """Rows of that share that are used, at most."""
    rows_per_trial: int = 20_000
    """Of each training of one network alone."""
    finalists: int = 5
    """Networks trained alone at the end by strategies that judge otherwise; a day hands over as many, and at least one."""
    population: int = 128
    """Of evolution: networks it begins with, and keeps."""
    tournament: int = 64
    """Of evolution: networks drawn, the best of which is the parent."""
    children: int = 8
    """Of evolution: mutants of that parent a generation."""
    judgements: int = 256
    """Networks judged with a supernet's weights, or by a proxy."""
    path_sampling: Literal["single", "uniform", "policy"] = "single"
    """How a supernet is trained: one module a stream, any member uniformly, or by a policy that learns from rewards."""
    full_path_share: float = 0.1
    """Of the rows, in which the full network is trained instead, with a probability that falls to 0; a policy learns nothing meanwhile."""
    finetune_rows: int = 20_000
    """Training rows that tune a network's last layer before a supernet judges it; 0: not at all."""
    reward_baseline: bool = False
    """A policy's reward is relative to a network trained beside the supernet."""
    supernet_learning_rate: float = 0.05
    """Of the Adagrad that trains a supernet's weights."""
    supernet_eps: float = 1e-2
    """Added to the denominator of that Adagrad."""
    proxy: Proxy = "sigeo"
    """Of `zero_cost`: what scores a network."""
    proxy_searcher: ProxySearcher = "evolution"
    """Of `zero_cost`: what draws the networks to score."""
    proxy_warmup_share: float = 0.1
    """Of `zero_cost`: share of the rows that train the supernet first; 0: not at all."""
    flops_weight: float = 0.0
    """Of `predictor_rl`: w in the reward -(1 - w) NE - w FLOPs, these as a share of the full network's."""
    learning_rates: tuple[float, ...] = ()
    """Of `predictor_rl`: learning rates to search together with the network; empty: as the config says."""
    init_scales: tuple[float, ...] = ()
    """Of `predictor_rl`: the same for `embedding.init_scale`."""
    warm_start: str = ""
    """Of `predictor_rl`: folder of an earlier run on the same space, whose trained networks are learnt from too."""

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
