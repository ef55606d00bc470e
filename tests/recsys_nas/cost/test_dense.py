"""Cost is exact: formulas against torch's own count, the relaxed cost against the discrete one and against its meaning."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recsys_nas.cost import ModuleCost, counted_flops, dense_flops, expected_dense_flops, module_costs
from recsys_nas.model import InteractionArch
from recsys_nas.space import CATALOGUE, Architecture, Block, Gate, SearchSpace, SpaceRules
from tests.recsys_nas.random_networks import hulls, hulls_and_members, inputs, spaces, spaces_and_gates

LINEAR_IN_INPUTS = ("linear", "fm", "embedded_fc", "self_attention")


def counted(architecture: Architecture, rows: int = 3) -> int:
    network = InteractionArch(architecture)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs(architecture, rows, torch.float32))
    return counter.get_total_flops()


def hard(space: SearchSpace, kept: tuple[Gate, ...]) -> dict[Gate, Tensor]:
    return {gate: torch.tensor(float(gate in kept), dtype=torch.float64) for gate in space.gates}


@settings(max_examples=60, deadline=None)
@given(pair=hulls_and_members())
def test_the_formulas_equal_torchs_count_of_the_forward_pass(pair: tuple[Architecture, Architecture]) -> None:
    for architecture in pair:
        assert 3 * sum(cost.flops for cost in module_costs(architecture)) == counted(architecture)
        assert all(type(cost.flops) is int for cost in module_costs(architecture))


@settings(max_examples=30, deadline=None)
@given(architecture=hulls())
def test_a_canonical_network_costs_the_same(architecture: Architecture) -> None:
    assert dense_flops(architecture.canonical()) == dense_flops(architecture)


def test_costs_are_told_apart_by_module() -> None:
    blocks = (
        Block.reading((0,), ("linear", "cross"), 5, ("embedded_fc",), 3),
        Block.reading((0, 1), ("fm", "dot_product"), 6, ("self_attention",), 2),
    )
    network = Architecture(2, 3, 4, blocks, (1, 2))
    raw, joined, tokens = 2 + 3 * 4, 2 + 3 * 4 + 5, 3 + 3
    by_hand = {
        (1, "linear"): 2 * raw * 5,
        (1, "cross"): 2 * (raw * raw + raw * 5),
        (1, "embedded_fc"): 2 * 4 * 3 * 3,
        (2, "fm"): 2 * 4 * 6,
        (2, "dot_product"): 2 * (joined * 4 + 7 * 7 * 4 + 21 * 6),
        (2, "self_attention"): 2 * (4 * tokens * 2 + 4 * 2 * 4 * 4 + 2 * 2 * 2 * 4),
        (0, "head"): 2 * (5 + 3 * 4 + 6 + 2 * 4),
        (0, "linear_skip"): 2 * raw,
    }
    assert set(module_costs(network)) == {ModuleCost(block, module, flops) for (block, module), flops in by_hand.items()}
    assert dense_flops(network) == sum(by_hand.values()) == counted_flops(InteractionArch(network), 2, 3, 4)


@settings(max_examples=150, deadline=None)
@given(choice=spaces_and_gates())
def test_the_relaxed_cost_at_hard_gates_is_that_of_the_discrete_network(choice: tuple[SearchSpace, tuple[Gate, ...]]) -> None:
    space, kept = choice
    assert float(expected_dense_flops(space, hard(space, kept))) == dense_flops(space.architecture(kept))


def test_the_relaxed_cost_of_closed_gates_is_the_linear_skip() -> None:
    space = SearchSpace(2, 3, 4, SpaceRules(2, (6,), (2,), ("linear", "cross"), ("embedded_fc",)))
    assert float(expected_dense_flops(space, hard(space, ()))) == 2 * (2 + 3 * 4)


@settings(max_examples=25, deadline=None)
@given(space=spaces())
def test_the_gradient_of_the_relaxed_cost_equals_finite_differences(space: SearchSpace) -> None:
    generator = torch.Generator().manual_seed(0)
    alphas = torch.randn(len(space.gates), generator=generator, dtype=torch.float64, requires_grad=True)

    def cost(values: Tensor) -> Tensor:
        return expected_dense_flops(space, dict(zip(space.gates, torch.sigmoid(values).unbind(), strict=True))) / 1000

    assert torch.autograd.gradcheck(cost, (alphas,), eps=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(cost(alphas), alphas)
    assert (gradient > 0).all(), "opening a gate never makes a network cheaper"


def expectation(space: SearchSpace, probabilities: dict[Gate, float]) -> float:
    """The mean cost over all choices of independent gates, each choice weighed by its probability."""
    total = 0.0
    for choice in itertools.product((False, True), repeat=len(space.gates)):
        chances = [probabilities[gate] if is_open else 1 - probabilities[gate] for gate, is_open in zip(space.gates, choice, strict=True)]
        kept = [gate for gate, is_open in zip(space.gates, choice, strict=True) if is_open]
        flops = dense_flops(space.architecture(kept)) if kept else 2 * space.full().num_raw_features
        total += math.prod(chances) * flops
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_relaxed_cost_is_the_expectation_where_costs_are_linear_in_what_is_read(seed: int) -> None:
    generator = random.Random(seed)
    dense = tuple(name for name in LINEAR_IN_INPUTS if CATALOGUE[name].makes == "dense")
    sparse = tuple(name for name in LINEAR_IN_INPUTS if CATALOGUE[name].makes == "sparse")
    space = SearchSpace(2, 3, 4, SpaceRules(2, (6,), (2,), dense, sparse))
    chances = {gate: generator.random() for gate in space.gates}
    relaxed = expected_dense_flops(space, {gate: torch.tensor(p, dtype=torch.float64) for gate, p in chances.items()})
    assert float(relaxed) == pytest.approx(expectation(space, chances), rel=1e-12)


def test_the_relaxed_cost_lies_below_the_expectation_where_costs_are_quadratic() -> None:
    space = SearchSpace(2, 3, 4, SpaceRules(2, (6,), (2,), ("cross", "dot_product"), ("embedded_fc",)))
    chances = dict.fromkeys(space.gates, 0.5)
    relaxed = float(expected_dense_flops(space, {gate: torch.tensor(p, dtype=torch.float64) for gate, p in chances.items()}))
    assert 0.9 * expectation(space, chances) < relaxed < expectation(space, chances)


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_a_network_in_its_mode(training: bool) -> None:
    network = InteractionArch(Architecture(2, 3, 4, (Block.reading((0,), ("linear",), 5),), (1,))).train(training)
    counted_flops(network, 2, 3, 4)
    assert all(module.training is training for module in network.modules())
