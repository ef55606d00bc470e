"""The differentiable search of one day: every module behind a gate, trained together under a loss that charges for cost.

An implementation of the idea of DistDNAS (Zhang et al., 2023), whose full text was not available; the formulas are ours.
A gate is a binary concrete variable (Maddison et al., 2017), `sigmoid((alpha + logistic noise) / temperature)`, with one
draw per example; outputs are normalised before their gate (`recsys_nas.model`), or a gate would measure scale; and the
cost term sees the gate without noise, `p = sigmoid(alpha)`. docs/search-dnas.md has the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from recsys_nas.cost import dense_flops, expected_dense_flops
from recsys_nas.search.decisions import DecisionRules, GateDecisions
from recsys_nas.search.decoys import Decoys, Place
from recsys_nas.space import SearchSpace
from recsys_nas.supernet import Supernet, skeleton

# Keeps the noise apart from other draws that are keyed by the same seed.
NOISE_STREAM = 1


@dataclass(frozen=True)
class Gating:
    """How gates work. `steps`: of the whole search, over which the temperature goes to `final_temperature` (0: it stays as it is).

    `rest_steps`: in which the gates do not move; after them, with `alpha_steps_share` above 0, that share of the steps moves the
    gates alone, and the others the weights alone. `dropout`: behind every module.
    """

    temperature: float = 1.0
    final_temperature: float = 0.0
    noise: Literal["example", "batch"] = "example"
    steps: int = 1
    rest_steps: int = 0
    alpha_steps_share: float = 0.0
    decoys: int = 0
    dropout: float = 0.0
    rules: DecisionRules = field(default_factory=DecisionRules)

    def temperature_at(self, step: int) -> float:
        ratio = (self.final_temperature or self.temperature) / self.temperature
        return float(self.temperature * ratio ** min(1.0, step / self.steps))

    def moves(self, step: int) -> tuple[bool, bool]:
        """Whether `step` moves the weights, and whether it moves the gates."""
        number = step - self.rest_steps
        if number < 0:
            return True, False
        share = self.alpha_steps_share
        alphas_turn = int((number + 1) * share) > int(number * share)
        return not alphas_turn, alphas_turn or not share


class GatedNetwork(nn.Module):
    """The supernet of a space with a gate on each module, those of decoys behind them. `lookup_flops` is what every member pays on top.

    Once gates have left (`GateDecisions`), what is run is the member that is left over, on slices of the same weights.
    """

    def __init__(self, space: SearchSpace, lookup_flops: int, gating: Gating, seed: int) -> None:
        super().__init__()
        self.space = space
        self.supernet = Supernet(space.full(), gating.dropout)
        self.decoys = Decoys(space, gating.decoys, seed, gating.dropout)
        num_real, num_gates = len(space.gates), len(space.gates) + gating.decoys
        self.alphas = nn.Parameter(torch.zeros(num_gates))
        self.decisions = GateDecisions(num_gates, num_real, gating.rules)
        self.gating = gating
        self.seed = seed
        self.lookup_flops = lookup_flops
        self.full_flops = dense_flops(space.full()) + lookup_flops

    def forward(self, dense: Tensor, tokens: Tensor, step: int, rows: slice, step_rows: int) -> Tensor:
        """`[B, I]`, `[B, N, D]` -> logits `[B]`; the batch is `rows` out of the `step_rows` rows of `step` over all ranks."""
        if not self.gating.moves(step)[0]:
            tokens = tokens.detach()  # tables are updated in the backward pass, and rest in this step
        noise = self._noise(step, step_rows)[rows].to(dense)
        values = torch.sigmoid((self.alphas + noise) / self.gating.temperature_at(step)).unbind(1)
        is_open = self.decisions.open.tolist()
        num_real = len(self.space.gates)
        of_decoys = [value if kept else None for value, kept in zip(values[num_real:], is_open[num_real:], strict=True)]
        added = self.decoys(dense, tokens, of_decoys, Place(step, rows, step_rows)) if of_decoys else {}
        gates = dict(zip(self.space.gates, values[:num_real], strict=True))
        if all(is_open[:num_real]):
            logits: Tensor = self.supernet.full(dense, tokens, gates, added)
            return logits
        member = self.space.architecture(gate for gate, kept in zip(self.space.gates, is_open[:num_real], strict=True) if kept)
        weights = self.supernet.sliced_parameters(member)
        of_member: Tensor = functional_call(skeleton(member, self.gating.dropout), weights, (dense, tokens, gates, added))
        return of_member

    @torch.compiler.disable
    def _noise(self, step: int, step_rows: int) -> Tensor:
        """Logistic noise `[step_rows, gates]`, keyed by seed and step alone: the same after a resume and for any world size."""
        # Not torch.Generator: on CPU it heeds only the lower 32 bits of a seed, so seed and step would not both fit.
        generator = np.random.Generator(np.random.Philox([self.seed, step, NOISE_STREAM]))
        draws = step_rows if self.gating.noise == "example" else 1
        uniform = torch.from_numpy(generator.random((draws, len(self.alphas)), dtype=np.float32))
        return torch.logit(uniform, eps=1e-6).expand(step_rows, -1)

    def weights(self) -> list[nn.Parameter]:
        """All parameters but the alphas."""
        return [*self.supernet.parameters(), *self.decoys.parameters()]

    def probabilities(self) -> Tensor:
        """`sigmoid(alpha)` `[gates]`, those of the space in its order, then those of the decoys."""
        return torch.sigmoid(self.alphas)

    def expected_flops(self) -> tuple[Tensor, Tensor]:
        """Expected dense FLOPs of an example, of the modules of the space, and of the decoys; gates that have left cost nothing."""
        probabilities = self.probabilities() * self.decisions.open
        num_real = len(self.space.gates)
        real = expected_dense_flops(self.space, dict(zip(self.space.gates, probabilities[:num_real].unbind(), strict=True)))
        return real, (probabilities[num_real:] * probabilities.new_tensor(self.decoys.flops)).sum()

    def expected_cost_share(self) -> Tensor:
        """Expected serving FLOPs, dense and lookups, as a share of the full supernet's; decoys left out."""
        return (self.expected_flops()[0] + self.lookup_flops) / self.full_flops
