"""Serving cost: totals against what torch and the network themselves say, and the roofline against its definition."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.lookup_cost import LookupCost
from recsys_nas.cost import counted_flops, module_costs
from recsys_nas.cost.devices import DEVICES, DeviceProfile
from recsys_nas.cost.serving import HEAD, JOINS, LOOKUP, SKIP, PartCost, ServingCost, network_cost, serving_cost
from recsys_nas.model import InteractionArch
from recsys_nas.space import Architecture
from recsys_nas.zoo.networks import NETWORKS
from tests.recsys_nas.random_networks import hulls

LOOKUPS = LookupCost(rows=3.0, flops=12, bytes=48, index_bytes=24)
DEVICE = DeviceProfile("toy", "made up", {"float32": 100.0, "bfloat16": 400.0}, 10.0, "measured")


@settings(max_examples=40, deadline=None)
@given(architecture=hulls())
def test_totals_are_those_of_the_real_network(architecture: Architecture) -> None:
    cost = serving_cost(architecture, LOOKUPS)
    network = InteractionArch(architecture)
    sizes = (architecture.num_dense, architecture.num_sparse, architecture.embedding_dim)
    assert cost.dense_flops == counted_flops(network, *sizes)
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert cost.parameter_bytes == 4 * cost.parameters
    assert {(part.block, part.module) for part in cost.parts} == {(0, LOOKUP), (0, JOINS)} | {
        (each.block, each.module) for each in module_costs(architecture)
    }
    assert all(part.activation_bytes >= 0 for part in cost.parts)


@settings(max_examples=20, deadline=None)
@given(architecture=hulls())
def test_equal_networks_cost_the_same_and_half_the_bytes_in_bfloat16(architecture: Architecture) -> None:
    cost = serving_cost(architecture, LOOKUPS)
    canonical = serving_cost(architecture.canonical(), LOOKUPS)
    half = serving_cost(architecture, LOOKUPS, "bfloat16")
    for name in ("dense_flops", "parameters", "parameter_bytes", "activation_bytes"):
        assert getattr(canonical, name) == getattr(cost, name)
    assert (half.dense_flops, half.parameters) == (cost.dense_flops, cost.parameters)
    assert 2 * half.parameter_bytes == cost.parameter_bytes
    assert 2 * half.activation_bytes == cost.activation_bytes
    assert half.lookup_bytes == cost.lookup_bytes == 48 + 24


def test_parts_by_hand() -> None:
    """Logistic regression on 2 numbers and 3 embeddings of 4: a join of 14 features, a product, its bias, and the lookup."""
    cost = serving_cost(Architecture(2, 3, 4, blocks=(), head=()), LOOKUPS)
    parts = {part.module: part for part in cost.parts}
    assert parts[LOOKUP] == PartCost(0, LOOKUP, 12, 0, 0, 3 * 4 * 4, 48 + 24)
    assert parts[SKIP] == PartCost(0, SKIP, 2 * 14, 14, 14 * 4, (14 + 1) * 4)
    assert parts[HEAD] == PartCost(0, HEAD, 0, 1, 4, 0)
    # The join reads and writes 14; bias and product are added.
    assert parts[JOINS] == PartCost(0, JOINS, 0, 0, 0, (14 + 14 + 1 + 1) * 4)
    assert cost.activation_bytes == (12 + 15 + 30) * 4


def test_the_roofline_is_the_slower_of_arithmetic_and_memory_part_by_part() -> None:
    parts = (PartCost(0, LOOKUP, 200, 0, 0, 5, 15), PartCost(1, "linear", 1000, 25, 100, 8), PartCost(1, "fm", 10, 0, 0, 8))
    cost = ServingCost("bfloat16", LOOKUPS, parts)
    lookup, linear, fm = (cost.roofline(part, DEVICE, batch=10) for part in parts)
    # Pooling runs in float32: 200 * 10 / 100. Rows, ids and what is written: 20 * 10 / 10.
    assert (lookup.compute_seconds, lookup.memory_seconds, lookup.bound) == (20.0, 20.0, "compute")
    # Weights are read once a batch: (100 + 10 * 8) / 10.
    assert (linear.compute_seconds, linear.memory_seconds, linear.bound) == (25.0, 18.0, "compute")
    assert (fm.compute_seconds, fm.memory_seconds, fm.bound) == (0.25, 8.0, "memory")
    assert cost.seconds(DEVICE, 10) == 20 + 25 + 8
    assert cost.bytes(10) == 200 + 180 + 80
    alone = cost.roofline(parts[1], DEVICE, batch=1)
    assert (alone.compute_seconds, alone.memory_seconds, alone.bound) == (2.5, 10.8, "memory")


@settings(max_examples=20, deadline=None)
@given(architecture=hulls(), batch=st.integers(1, 4096), device=st.sampled_from(sorted(DEVICES)))
def test_a_larger_batch_takes_longer_and_is_cheaper_an_example(architecture: Architecture, batch: int, device: str) -> None:
    cost = serving_cost(architecture, LOOKUPS)
    now, later = (cost.seconds(DEVICES[device], rows) for rows in (batch, 2 * batch))
    assert now < later
    assert later / 2 <= now * (1 + 1e-12)
    better = replace(DEVICES[device], bandwidth=2 * DEVICES[device].bandwidth)
    assert cost.seconds(better, batch) <= now


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_models_of_the_zoo_are_priced_as_torch_counts_them(name: str) -> None:
    sizes = (4, 5, 8)
    network = NETWORKS[name](*sizes)
    cost = network_cost(network, sizes, LOOKUPS)
    assert cost.dense_flops == counted_flops(network, *sizes)
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    with torch.device("meta"):
        assert network_cost(NETWORKS[name](*sizes), sizes, LOOKUPS) == cost
    assert math.isfinite(cost.seconds(DEVICES["h100"], 8))
