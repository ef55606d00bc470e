"""What a user may set about training, the same for search and retraining. No torch here: the config is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from recsys_nas.training.schedules import Decay, Schedule

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TrainingConfig:
    """The dense half's Adam, the schedule of all learning rates (tables and alphas too), and what checkpoints are kept.

    `epochs`: passes over the days. `shuffle`, anew for each: whole blocks of `batch_size` rows, as they lie on disk, or single rows,
    held in memory. `dropout`: behind every module of a network of the space, and every hidden ReLU of the zoo.
    `clip_norm`: the largest norm of all gradients together (0: none), those of fused tables left out, which are spent at once.
    `lr_...` are as in `recsys_nas.training.schedules.Schedule`. `checkpoint_keep`: how many of the newest are kept;
    `checkpoint_best` keeps beside them the one with the lowest loss (or NE) on the rows before it. `precision` and `compile`:
    how the dense half computes (`recsys_nas.training.computation`).
    """

    section: ClassVar[str] = "training"

    epochs: int = 1
    shuffle: Literal["blocks", "rows"] = "blocks"
    dropout: float = 0.0
    learning_rate: float = 5e-3
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    lr_decay: Decay = "constant"
    lr_warmup_share: float = 0.0
    lr_final_share: float = 0.0
    lr_power: float = 2.0
    checkpoint_every_steps: int = 200
    checkpoint_keep: int = 2
    checkpoint_best: Literal["", "loss", "ne"] = ""
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"{self.section}.dropout = {self.dropout}: must lie in [0, 1)")
        for name in ("epochs", "learning_rate", "eps", "lr_power", "checkpoint_every_steps", "checkpoint_keep"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{self.section}.{name} = {getattr(self, name)}: must be finite and above 0")
        for name in ("weight_decay", "clip_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{self.section}.{name} = {getattr(self, name)}: must be finite and 0 or more")
        if not 0 <= self.lr_warmup_share < 1:
            raise ValueError(f"{self.section}.lr_warmup_share = {self.lr_warmup_share}: must lie in [0, 1)")
        if not 0 <= self.lr_final_share <= 1:
            raise ValueError(f"{self.section}.lr_final_share = {self.lr_final_share}: must lie in [0, 1]")

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.lr_decay, self.lr_warmup_share, self.lr_final_share, self.lr_power)
