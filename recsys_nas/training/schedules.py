"""How learning rates change over a run: a factor for every step, applied to the rates of tables, dense half and alphas alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Decay = Literal["constant", "linear", "cosine", "polynomial"]


@dataclass(frozen=True)
class Schedule:
    """A linear rise over the first `warmup_share` of the steps, then a fall to `final_share` of the full rate at the end.

    `linear` falls in a straight line, `polynomial` as `(1 - x) ** power`, `cosine` as half a wave (Loshchilov and Hutter,
    2017, without restarts), where x is the share of the fall that is done; `constant` does not fall.
    """

    decay: Decay = "constant"
    warmup_share: float = 0.0
    final_share: float = 0.0
    power: float = 2.0

    def factor(self, step: int, steps: int) -> float:
        """What full rates are multiplied by in `step`, counted from 0, out of `steps`."""
        warmup = round(self.warmup_share * steps)
        if step < warmup:
            return (step + 1) / warmup
        left = 1 - (step - warmup) / (steps - warmup)
        return self.final_share + (1 - self.final_share) * self._shape(left)

    def _shape(self, left: float) -> float:
        if self.decay == "constant":
            return 1.0
        if self.decay == "linear":
            return left
        if self.decay == "polynomial":
            return max(left, 0.0) ** self.power
        return (1 + math.cos(math.pi * (1 - left))) / 2
