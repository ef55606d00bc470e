"""What a job optimises: the log loss, and whatever a search adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Objective(Protocol):
    """What a job adds to the plain log loss, and what it says of itself."""

    def penalty(self) -> Tensor | None:
        """A term added to the loss, or None."""
        ...

    def before_update(self, step: int) -> None:
        """Called between the backward pass and the optimizers' steps."""
        ...

    def is_done(self) -> bool:
        """Whether training may end before the rows do; asked after each step, and the same on every rank."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Scalars for TensorBoard, by tag."""
        ...


class LogLoss:
    """The plain objective: log loss and nothing else."""

    def penalty(self) -> Tensor | None:
        return None

    def before_update(self, step: int) -> None: ...

    def is_done(self) -> bool:
        return False

    def figures(self) -> Mapping[str, float]:
        return {}
