"""Which gates have been decided while training goes on: those that leave the network, and when all of them have settled.

Both follow from the probabilities alone, looked at every few steps; ranks take those of the first one, so that they agree. What
is remembered stands in buffers, hence in the checkpoint, and a resumed search decides as the unbroken one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recsys_nas.search_config import UNDECIDED

LOOK_EVERY_STEPS = 10
NEVER = -1


@dataclass(frozen=True)
class DecisionRules:
    """A gate leaves when its probability has stayed below `bound` for `leave_after` steps. The search has settled when for
    `settle_after` steps no gate has moved by more than `tolerance`, and none is undecided. 0 steps: never."""

    bound: float = 0.0
    leave_after: int = 0
    settle_after: int = 0
    tolerance: float = 0.0


class GateDecisions(nn.Module):
    """Over `num_gates` gates, the first `num_real` of them of modules that may survive; of those one always stays."""

    left_at: Tensor
    below_since: Tensor
    reference: Tensor
    unmoved_since: Tensor
    settled_at: Tensor

    def __init__(self, num_gates: int, num_real: int, rules: DecisionRules) -> None:
        super().__init__()
        self.num_real = num_real
        self.rules = rules
        never = torch.full((num_gates,), NEVER)
        self.register_buffer("left_at", never)
        self.register_buffer("below_since", never.clone())
        self.register_buffer("reference", torch.full((num_gates,), 0.5))
        self.register_buffer("unmoved_since", torch.tensor(0))
        self.register_buffer("settled_at", torch.tensor(NEVER))

    @property
    def open(self) -> Tensor:
        """Which gates are still in the network, bool `[gates]`."""
        return self.left_at == NEVER

    @property
    def is_settled(self) -> bool:
        return int(self.settled_at) != NEVER

    @torch.no_grad()
    def look(self, probabilities: Tensor, step: int) -> None:
        """Take note of the probabilities `[gates]` after `step` steps. Every rank calls it."""
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.broadcast(probabilities, 0)
        self._leave(probabilities, step)
        self._settle(probabilities, step)

    def _leave(self, probabilities: Tensor, step: int) -> None:
        below = probabilities < self.rules.bound
        self.below_since.copy_(torch.where(below, torch.where(self.below_since == NEVER, step, self.below_since), NEVER))
        if not self.rules.leave_after:
            return
        leaving = self.open & below & (step - self.below_since >= self.rules.leave_after)
        if not bool((self.open & ~leaving)[: self.num_real].any()):
            best = torch.where(self.open, probabilities, -1.0)[: self.num_real].argmax()
            leaving[best] = False
        self.left_at[leaving] = step

    def _settle(self, probabilities: Tensor, step: int) -> None:
        moved = (probabilities - self.reference).abs() > self.rules.tolerance
        undecided = (probabilities > UNDECIDED[0]) & (probabilities < UNDECIDED[1])
        if bool(((moved | undecided) & self.open).any()):
            self.reference.copy_(probabilities)
            self.unmoved_since.fill_(step)
        elif self.rules.settle_after and not self.is_settled and step - int(self.unmoved_since) >= self.rules.settle_after:
            self.settled_at.fill_(step)
