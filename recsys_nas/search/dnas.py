"""The differentiable search of one day: every module behind a gate, trained together under a loss that charges for cost.

An implementation of the idea of DistDNAS (Zhang et al., 2023), whose full text was not available; the formulas are ours.
A gate is a binary concrete variable (Maddison et al., 2017), `sigmoid((alpha + logistic noise) / temperature)`, with one
draw per example; outputs are normalised before their gate (`recsys_nas.model`), or a gate would measure scale; and the
cost term sees the gate without noise, `p = sigmoid(alpha)`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys_nas.cost import dense_flops, expected_dense_flops
from recsys_nas.model import InteractionArch
from recsys_nas.space import Gate, SearchSpace

# Keeps the noise apart from other draws that are keyed by the same seed.
NOISE_STREAM = 1


class GatedNetwork(nn.Module):
    """The whole supernet of a space with a gate on each module. `lookup_flops` is what every member pays on top."""

    def __init__(self, space: SearchSpace, lookup_flops: int, temperature: float, seed: int) -> None:
        super().__init__()
        self.space = space
        self.interaction = InteractionArch(space.full())
        self.alphas = nn.Parameter(torch.zeros(len(space.gates)))
        self.temperature = temperature
        self.seed = seed
        self.lookup_flops = lookup_flops
        self.full_flops = dense_flops(space.full()) + lookup_flops

    def forward(self, dense: Tensor, tokens: Tensor, step: int, rows: slice, step_rows: int) -> Tensor:
        """`[B, I]`, `[B, N, D]` -> logits `[B]`; the batch is `rows` out of the `step_rows` rows of `step` over all ranks."""
        noise = self._noise(step, step_rows)[rows].to(dense)
        values = torch.sigmoid((self.alphas + noise) / self.temperature)
        return self.interaction(dense, tokens, dict(zip(self.space.gates, values.unbind(1), strict=True)))

    @torch.compiler.disable
    def _noise(self, step: int, step_rows: int) -> Tensor:
        """Logistic noise `[step_rows, gates]`, keyed by seed and step alone: the same after a resume and for any world size."""
        # Not torch.Generator: on CPU it heeds only the lower 32 bits of a seed, so seed and step would not both fit.
        generator = np.random.Generator(np.random.Philox([self.seed, step, NOISE_STREAM]))
        uniform = torch.from_numpy(generator.random((step_rows, len(self.alphas)), dtype=np.float32))
        return torch.logit(uniform, eps=1e-6)

    def probabilities(self) -> dict[Gate, Tensor]:
        """`sigmoid(alpha)` of each gate."""
        return dict(zip(self.space.gates, torch.sigmoid(self.alphas).unbind(), strict=True))

    def expected_cost_share(self) -> Tensor:
        """Expected serving FLOPs, dense and lookups, as a share of the full supernet's."""
        return (expected_dense_flops(self.space, self.probabilities()) + self.lookup_flops) / self.full_flops
