"""What a user may set about the embedding tables. No torch here: the controller and the command line read it too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Optimizer = Literal["rowwise_adagrad", "adagrad", "sgd"]


@dataclass(frozen=True)
class EmbeddingConfig:
    """Tables of one model: their width, their rows, and the optimizer fused into their backward pass.

    `max_rows` caps every table (0: as many rows as the schema has ids); ids beyond the cap wrap around.
    """

    dim: int = 16
    max_rows: int = 0
    optimizer: Optimizer = "rowwise_adagrad"
    learning_rate: float = 0.05
    eps: float = 1e-8
    init_scale: float = 0.05

    def __post_init__(self) -> None:
        if self.dim <= 0 or self.dim % 4:
            raise ValueError(f"embedding.dim = {self.dim}: must be a positive multiple of 4 (a limit of the lookup kernels)")
        if self.max_rows < 0:
            raise ValueError(f"embedding.max_rows = {self.max_rows}: must be 0 (no cap) or a number of rows")
        for name in ("learning_rate", "eps", "init_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"embedding.{name} = {getattr(self, name)}: must be finite and above 0")
