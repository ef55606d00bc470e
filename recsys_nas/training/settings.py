"""What a user may set about training, the same for search and retraining. No torch here: the config is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from recsys_nas.training.schedules import Decay, Schedule

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TrainingConfig:
    """The dense half's Adam, the schedule of all learning rates (tables and alphas too), what checkpoints are kept, how to compute."""

    section: ClassVar[str] = "training"

    epochs: int = 1
    """Passes over the rows; in retraining with `data.valid_days`, which may end it early, the most there may be."""
    shuffle: Literal["blocks", "rows"] = "blocks"
    """Order of rows, anew in each pass: whole blocks of `batch_size` rows, as they lie on disk, or single rows, held in memory."""
    dropout: float = 0.0
    """Behind every module of the space that ends in a ReLU, and every hidden ReLU of the zoo."""
    learning_rate: float = 5e-3
    """Of the dense half's Adam."""
    eps: float = 1e-8
    """Added to the denominator of the dense half's Adam."""
    weight_decay: float = 0.0
    """An L2 penalty on the dense half's weights."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together, but for those of fused tables, which are spent at once; 0: none."""
    lr_decay: Decay = "constant"
    """How all learning rates fall after their warm-up (`recsys_nas.training.schedules.Schedule`)."""
    lr_warmup_share: float = 0.0
    """Of the steps, in which learning rates rise from 0."""
    lr_final_share: float = 0.0
    """Of the full learning rates, what is left at the end."""
    lr_power: float = 2.0
    """Of `lr_decay = "polynomial"`."""
    checkpoint_every_steps: int = 200
    """How many steps a killed job loses at most."""
    checkpoint_keep: int = 2
    """How many of the newest checkpoints are kept."""
    checkpoint_best: Literal["", "loss", "ne"] = ""
    """Keep beside them the one with the lowest loss (or NE) on the rows before it; empty: none."""
    precision: Precision = "float32"
    """What the dense half computes in (`recsys_nas.training.computation`)."""
    compile: bool = False
    """Compile the dense half with `torch.compile`."""

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
