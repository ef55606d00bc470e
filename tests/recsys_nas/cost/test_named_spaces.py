"""Costs over the named spaces at the sizes that people search: exact on random members, and exact in the relaxed cost's float64."""

from __future__ import annotations

import random

import pytest
import torch

from embeddings.lookup_cost import LookupCost
from recsys_nas.cost import counted_flops, dense_flops, expected_dense_flops
from recsys_nas.cost.serving import serving_cost
from recsys_nas.model import InteractionArch
from recsys_nas.space import NAMED_SPACES, SearchSpace, SpaceRules

CRITEO = (13, 26, 16)
LOOKUPS = LookupCost(26.0, 416, 1664, 212)
FLOAT32_EXACT_BELOW = 2**24


def totals_are_exact(space: str, count: int, seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(count):
        architecture = SearchSpace(*CRITEO, NAMED_SPACES[space]).sample(generator)
        with torch.device("meta"):
            network = InteractionArch(architecture)
        cost = serving_cost(architecture, LOOKUPS)
        assert cost.dense_flops == dense_flops(architecture) == counted_flops(network, *CRITEO)
        assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert all(part.flops >= 0 and part.activation_bytes >= 0 for part in cost.parts)


@pytest.mark.parametrize("space", sorted(NAMED_SPACES))
def test_totals_of_random_members(space: str) -> None:
    totals_are_exact(space, count=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("space", sorted(NAMED_SPACES))
def test_totals_of_300_random_members(space: str) -> None:
    totals_are_exact(space, count=300, seed=2)


def test_the_relaxed_cost_of_large_networks_is_exact_in_float64_and_close_in_float32() -> None:
    rules = SpaceRules(2, (4001,), (8,), ("linear", "cross"), ("embedded_fc",))
    space, generator = SearchSpace(*CRITEO, rules), random.Random(3)
    rounded = 0
    for _ in range(30):
        kept = tuple(gate for gate in space.gates if generator.random() < 0.7) or space.gates
        exact = dense_flops(space.architecture(kept))
        open_or_shut = {gate: torch.tensor(float(gate in kept), dtype=torch.float64) for gate in space.gates}
        assert float(expected_dense_flops(space, open_or_shut)) == exact
        single = float(expected_dense_flops(space, {gate: value.float() for gate, value in open_or_shut.items()}))
        assert single == pytest.approx(exact, rel=1e-6)
        assert single == exact or exact > FLOAT32_EXACT_BELOW
        rounded += single != exact
    assert rounded, "none was large enough to tell"
