"""FLOPs of an interaction network, from its `Architecture` alone: exact for a discrete one, differentiable for a relaxed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from recsys_nas.model import head_features, pieces
from recsys_nas.modules import LAYERS, Number, Shape
from recsys_nas.space import PORTS, STREAM_OF, Architecture, Gate, SearchSpace, Stream


@dataclass(frozen=True)
class ModuleCost:
    """Forward FLOPs per example of one module; block 0 is what lies outside the blocks: the head and the linear skip."""

    block: int
    module: str
    flops: int


def module_costs(architecture: Architecture) -> tuple[ModuleCost, ...]:
    """What each module and merger that reaches the head costs; the sum equals torch's own count of the real forward pass."""
    live = architecture.live()
    costs = [
        ModuleCost(number, piece.name, piece.layer.flops(piece.shape))
        for number in architecture.reachable_blocks()
        for piece in pieces(live, number)
    ]
    costs.append(ModuleCost(0, "head", 2 * sum(head_features(live, source) for source in live.head)))
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
    speaks: dict[int, dict[Stream, Number]] = {0: {"dense": 1.0, "sparse": 1.0}}
    speaks |= {number: _speaks(space, number, probabilities) for number in range(1, len(hull.blocks) + 1)}

    def expected(sources: tuple[int, ...], stream: Stream) -> Number:
        return sum(hull.width(source, stream) * speaks[source][stream] for source in sources)

    total: Number = 2 * hull.num_raw_features * hull.linear_skip
    for number, block in enumerate(hull.blocks, start=1):
        for module in block.modules:
            dense, tokens, right = (expected(module.sources(port), STREAM_OF[port]) for port in PORTS)
            shape = Shape(dense, tokens, space.embedding_dim, block.width_of(module), right)
            total = total + probabilities[Gate(number, module.name)] * LAYERS[module.name].flops(shape)
    return total + 2 * (expected(hull.head, "dense") + expected(hull.head, "sparse") * space.embedding_dim)


def _speaks(space: SearchSpace, number: int, probabilities: Mapping[Gate, Tensor]) -> dict[Stream, Number]:
    """Probability that a block makes a dense stream, and a sparse one: that at least one such gate is open."""

    def any_open(names: tuple[str, ...]) -> Tensor:
        closed = torch.ones(())
        for name in names:
            closed = closed * (1 - probabilities[Gate(number, name)])
        return 1 - closed

    return {"dense": any_open(space.rules.dense_modules), "sparse": any_open(space.rules.sparse_modules)}
