"""Random search, the control that every other strategy must beat: networks drawn uniformly, each trained alone on as many rows.

Hard to beat in architecture search (Li and Talwalkar, 2019: Random search and reproducibility for neural architecture search).
"""

from __future__ import annotations

from recsys_nas.search.strategy import Candidates, Task, Trial
from recsys_nas.space import Architecture


class RandomDraws:
    """New networks, drawn uniformly from the space."""

    def __init__(self, task: Task) -> None:
        self._candidates = Candidates(task)

    def next(self) -> Architecture | None:
        return self._candidates.fresh()

    def tell(self, trial: Trial) -> None: ...
