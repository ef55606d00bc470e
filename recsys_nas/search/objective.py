"""What the search of a day optimises beside the log loss, and when which of its parameters move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys_nas.search.decisions import LOOK_EVERY_STEPS
from recsys_nas.search.dnas import GatedNetwork
from recsys_nas.search_config import UNDECIDED


@dataclass(frozen=True)
class Price:
    """`weight` of the expected share of the full cost; in its place, where there is a target, `target_weight` of
    log(expected dense FLOPs / `target_flops`) above it: below it cost is of no concern, and a price would still shut gates."""

    weight: float
    target_flops: int = 0
    target_weight: float = 0.0


class CostAware:
    """Log loss plus the price of the expected serving cost; the gates rest while the weights warm up."""

    def __init__(self, network: GatedNetwork, price: Price) -> None:
        self.network = network
        self.price = price

    def penalty(self) -> Tensor:
        real, decoys = self.network.expected_flops()
        dense = real + decoys
        if self.price.target_flops:
            return self.price.target_weight * torch.log(dense / self.price.target_flops).clamp(min=0)
        return self.price.weight * (dense + self.network.lookup_flops) / self.network.full_flops

    def before_update(self, step: int) -> None:
        moves_weights, moves_alphas = self.network.gating.moves(step)
        if not moves_alphas:
            self.network.alphas.grad = None
        if not moves_weights:
            for parameter in self.network.weights():
                parameter.grad = None
        if (step + 1) % LOOK_EVERY_STEPS == 0:
            self.network.decisions.look(self.network.probabilities().detach(), step + 1)

    def is_done(self) -> bool:
        return self.network.decisions.is_settled

    @torch.no_grad()
    def figures(self) -> Mapping[str, float]:
        network, num_real = self.network, len(self.network.space.gates)
        probabilities = network.probabilities()
        real, decoys = probabilities[:num_real], probabilities[num_real:]
        figures = {f"gates/{gate}": float(p) for gate, p in zip(network.space.gates, real, strict=True)}
        figures |= {f"decoys/{i}_{gate}": float(p) for i, (gate, p) in enumerate(zip(network.decoys.gates, decoys, strict=True))}
        undecided = (real > UNDECIDED[0]) & (real < UNDECIDED[1])
        figures |= {f"alphas/{gate}": float(alpha) for gate, alpha in zip(network.space.gates, network.alphas[:num_real], strict=True)}
        figures |= {"search/target_flops": float(self.price.target_flops)} if self.price.target_flops else {}
        return figures | {
            "search/expected_dense_flops": float(network.expected_flops()[0]),
            "search/expected_cost_share": float(network.expected_cost_share()),
            "search/undecided_share": float(undecided.float().mean()),
            "search/modules_left": float(network.decisions.open[:num_real].sum()),
        }
