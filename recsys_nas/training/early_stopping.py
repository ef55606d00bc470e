"""What a look at the validation days after each epoch decides: whether it was the best, how far to cut the rates, when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Monitor = Literal["auc", "logloss"]

# An epoch is better when it is so by more than this, as in FuxiCTR (fuxictr/pytorch/models/rank_model.py, checkpoint_and_earlystop).
LEAST_GAIN = 1e-6


@dataclass(frozen=True)
class EarlyStopping:
    """`patience`: stop after so many epochs in a row without a new best (0: never). `lr_cut`: each such epoch multiplies all learning
    rates by it. During the first `hold_epochs` nothing is cut or counted, so that a chance dip early on costs nothing.

    BARS's rule (Zhu et al., 2022) is lr_cut = .1, patience = 2, hold_epochs = 0, by AUC.
    """

    monitor: Monitor = "auc"
    patience: int = 0
    lr_cut: float = 1.0
    hold_epochs: int = 0

    def is_best(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether the last epoch of `history` (one record of figures an epoch) beats all before it."""
        return self._bests(history)[-1]

    def best_of(self, history: Sequence[Mapping[str, float]]) -> int:
        """The epoch of `history` (not empty) that the model goes back to, counted from 0."""
        return max(epoch for epoch, best in enumerate(self._bests(history)) if best)

    def factor(self, history: Sequence[Mapping[str, float]]) -> float:
        """What learning rates are multiplied by in the epoch after `history`."""
        return self.lr_cut ** sum(self._missed(history))

    def stops(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether to train no further."""
        last = self._missed(history)[-self.patience :]
        return 0 < self.patience <= len(history) and all(last)

    def _missed(self, history: Sequence[Mapping[str, float]]) -> list[bool]:
        return [epoch >= self.hold_epochs and not best for epoch, best in enumerate(self._bests(history))]

    def _bests(self, history: Sequence[Mapping[str, float]]) -> list[bool]:
        sign = 1.0 if self.monitor == "auc" else -1.0
        best, bests = float("-inf"), []
        for record in history:
            value = sign * record[self.monitor]
            bests.append(value > best + LEAST_GAIN or best == float("-inf"))
            best = value if bests[-1] else best
        return bests
