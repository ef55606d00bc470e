"""What a user may set about the differentiable search and about aggregation over days. No torch here: the config is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from recsys_nas.search.trial_settings import StrategyName
from recsys_nas.training.settings import TrainingConfig

UNDECIDED = (0.4, 0.6)
"""A gate whose probability lies in between says neither yes nor no."""
Aggregation = Literal["mean", "logit_mean", "majority", "recency"]
Discretise = Literal["threshold", "top_k", "budget"]


@dataclass(frozen=True)
class SearchConfig(TrainingConfig):
    """How a day is searched: by `strategy`, whose settings are below for `dnas` and in `[trials]` for all others.

    `dnas` goes over the day, once or `epochs` times: weights and gates together, under a loss that charges for serving cost; then one
    network from all days. docs/search-dnas.md has the formulas, docs/quality/search.md what each default was compared with. Other
    strategies heed neither `epochs` nor `shuffle` nor `dropout`.
    """

    section: ClassVar[str] = "search"

    strategy: StrategyName = "dnas"
    """What searches a day."""
    batch_size: int = 256
    """Rows of one step, over all ranks."""
    max_rows: int = 0
    """Caps the tables while searching, by any strategy; 0: as `embedding.max_rows`."""
    alpha_learning_rate: float = 3e-2
    """Of the alphas' Adam."""
    alpha_betas: tuple[float, float] = (0.5, 0.999)
    """Of the alphas' Adam: how slowly its means of gradients and of their squares forget."""
    alpha_eps: float = 1e-8
    """Added to the denominator of the alphas' Adam."""
    alpha_weight_decay: float = 0.0
    """Of the alphas' Adam; it pulls probabilities to one half."""
    temperature: float = 1.0
    """Of the gates' sigmoid: the lower, the nearer a sampled gate is to 0 or 1."""
    final_temperature: float = 0.0
    """The temperature goes from the first to this one in equal ratios over the day; 0: it stays."""
    noise: Literal["example", "batch"] = "example"
    """One draw of a gate's noise for each example, or for each batch."""
    levels: Literal["single", "alternating"] = "single"
    """`single`: every step moves weights and gates. `alternating`: each step moves one of them, on rows the other does not see."""
    alpha_steps_share: float = 0.2
    """Of the steps after the warm-up of an alternating search, those that move the gates; of several passes also the share of the
    rows, the day's last ones, that these steps read and no other step does."""
    cost_weight: float = 1e-2
    """Of the expected serving cost as a share of the full supernet's, where there is no target."""
    target_flops: int = 0
    """Dense FLOPs of one example that the found network may need; 0: no target. Below it cost is not charged."""
    target_weight: float = 1e-2
    """Of the logarithm of expected FLOPs over the target, where they are above it."""
    schedule_steps: int = 0
    """The shares below, and the change of temperature, are of so many steps where a day has more; 0: of all its steps."""
    warmup_share: float = 0.3
    """Of the steps of all passes over the day, as the shares below are, in which the gates rest."""
    removal_bound: float = 0.05
    """A gate whose probability stays below this leaves the network while training goes on; 0: none does."""
    removal_share: float = 0.1
    """Of the day's steps, for how long it must have stayed there."""
    settle_share: float = 0.2
    """The search of a day ends when no gate has moved, and none is undecided, for this share of the day's steps; 0: at the day's end."""
    settle_tolerance: float = 0.05
    """How far a probability may go and still count as not moved."""
    decoys: int = 0
    """Modules fed other rows' features, beside the real ones. One that survives shows that the search cannot be believed."""
    aggregation: Aggregation = "mean"
    """How days are joined: mean of probabilities, of their logits, a vote of the days, or a mean in which late days count more."""
    recency_half_life: float = 4.0
    """Days after which a day counts half, with `aggregation = "recency"`."""
    discretise: Discretise = "threshold"
    """`threshold`: keep gates above it; `top_k`: the best `top_k`; `budget`: from the best down all that fit `target_flops` together, which
    what the other two keep must do too."""
    threshold: float = 0.5
    """Mean probability from which a gate is kept."""
    top_k: int = 3
    """How many gates `discretise = "top_k"` keeps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "alpha_learning_rate", "alpha_eps", "temperature", "recency_half_life", "top_k"):
            self._check(name, 0 < getattr(self, name) < math.inf, "must be finite and above 0")
        not_negative = ("max_rows", "alpha_weight_decay", "cost_weight", "target_flops", "target_weight", "final_temperature", "decoys")
        for name in (*not_negative, "schedule_steps"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "must be finite and 0 or more")
        for name in ("warmup_share", "removal_share", "settle_share", "settle_tolerance"):
            self._check(name, 0 <= getattr(self, name) < 1, "must lie in [0, 1)")
        for name in ("threshold", "alpha_steps_share"):
            self._check(name, 0 < getattr(self, name) < 1, "must lie between 0 and 1")
        self._check("removal_bound", 0 <= self.removal_bound < 0.5, "must lie in [0, 0.5)")
        self._check("alpha_betas", all(0 <= beta < 1 for beta in self.alpha_betas), "both must lie in [0, 1)")
        if self.discretise == "budget" and not self.target_flops:
            raise ValueError("search.discretise = 'budget': says by how much only with search.target_flops; set it")
        if self.compile and self.strategy != "dnas":
            raise ValueError(
                f"search.compile = true: search.strategy = {self.strategy!r} trains another network in every trial or step, "
                'and each would be compiled anew; leave it out, or search by "dnas"'
            )

    @property
    def day_result(self) -> str:
        """The file that a searched day leaves."""
        return "alphas.json" if self.strategy == "dnas" else "search.json"

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"search.{name} = {getattr(self, name)}: {rule}")
