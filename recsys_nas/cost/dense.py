"""FLOPs of an interaction network, from its `Architecture` alone: exact for a discrete one, differentiable for a relaxed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from recsys_nas.model import head_features
from recsys_nas.modules import LAYERS, Number, Shape
from recsys_nas.space import Architecture, Gate, SearchSpace


@dataclass(frozen=True)
class ModuleCost:
    """Forward FLOPs per example of one module; block 0 is what lies outside the blocks: the head and the linear skip."""

    block: int
    module: str
    flops: int


def module_costs(architecture: Architecture) -> tuple[ModuleCost, ...]:
    """What each module of the network costs; the sum equals torch's own count of the real forward pass."""
    live = architecture.reachable_blocks()
    costs = []
    for number in live:
        block = architecture.blocks[number - 1]
        sources = [source for source in block.sources if source == 0 or source in live]
        dense = sum(architecture.dense_width(source) for source in sources)
        tokens = sum(architecture.num_tokens(source) for source in sources)
        for name in block.modules:
            out = block.width_of(name)
            costs.append(ModuleCost(number, name, LAYERS[name].flops(Shape(dense, tokens, architecture.embedding_dim, out))))
    costs.append(ModuleCost(0, "head", 2 * sum(head_features(architecture, s) for s in architecture.head if s == 0 or s in live)))
    if architecture.linear_skip:
        costs.append(ModuleCost(0, "linear_skip", 2 * architecture.num_raw_features))
    return tuple(costs)


def dense_flops(architecture: Architecture) -> int:
    """Forward FLOPs per example of the dense half, one multiply-add counted as 2."""
    return sum(cost.flops for cost in module_costs(architecture))


def counted_flops(network: nn.Module, num_dense: int, num_sparse: int, embedding_dim: int) -> int:
    """FLOPs per example as torch counts them on a forward pass of two examples; for networks that are no Architecture."""
    parameter = next(network.parameters())
    dense = torch.zeros(2, num_dense, device=parameter.device, dtype=parameter.dtype)
    tokens = torch.zeros(2, num_sparse, embedding_dim, device=parameter.device, dtype=parameter.dtype)
    was_training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(dense, tokens)
    network.train(was_training)
    return counter.get_total_flops() // 2


def expected_dense_flops(space: SearchSpace, probabilities: Mapping[Gate, Tensor]) -> Tensor:
    """FLOPs when each gate is open with its probability; at probabilities of 0 and 1 exactly those of that network.

    A module pays for the inputs it reads, so it gets dearer with the probability that earlier blocks make something.
    Between 0 and 1 it is the cost at the expected widths: an expectation where the cost of a module is linear in what it
    reads, and a little below one where it is quadratic (cross, dot_product).
    """
    hull = space.full()
    speaks = {0: (1.0, 1.0)} | {number: _speaks(space, number, probabilities) for number in range(1, space.num_blocks + 1)}

    def widths(sources: tuple[int, ...]) -> tuple[Number, Number]:
        dense = sum(hull.dense_width(source) * speaks[source][0] for source in sources)
        return dense, sum(hull.num_tokens(source) * speaks[source][1] for source in sources)

    total: Number = 2 * hull.num_raw_features * hull.linear_skip
    for number, block in enumerate(hull.blocks, start=1):
        dense, tokens = widths(block.sources)
        for name in block.modules:
            shape = Shape(dense, tokens, space.embedding_dim, block.width_of(name))
            total = total + probabilities[Gate(number, name)] * LAYERS[name].flops(shape)
    dense, tokens = widths(hull.head)
    return total + 2 * (dense + tokens * space.embedding_dim)


def _speaks(space: SearchSpace, number: int, probabilities: Mapping[Gate, Tensor]) -> tuple[Tensor, Tensor]:
    """Probability that a block makes a dense stream, and a sparse one: that at least one such gate is open."""

    def any_open(names: tuple[str, ...]) -> Tensor:
        closed = torch.ones(())
        for name in names:
            closed = closed * (1 - probabilities[Gate(number, name)])
        return 1 - closed

    return any_open(space.dense_modules), any_open(space.sparse_modules)
