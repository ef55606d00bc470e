"""Decoys: other rows' features, nothing for the tables to learn, no say in what is run without them, never in an architecture."""

from __future__ import annotations

import pytest
import torch

from recsys_nas.search.decoys import Decoys, Place, twins
from recsys_nas.search.dnas import GatedNetwork, Gating
from recsys_nas.space import Gate, SearchSpace, SpaceRules
from tests.recsys_nas.random_networks import inputs, randomise

SPACE = SearchSpace(2, 3, 4, SpaceRules(2, (6,), (3,), ("linear", "fm", "sigmoid_gating"), ("embedded_fc", "field_gate")))
ROWS = 12
PLACE = Place(5, slice(0, ROWS), ROWS)


def make(count: int, seed: int = 3) -> Decoys:
    torch.manual_seed(0)
    decoys = Decoys(SPACE, count, seed).double()
    randomise(decoys)
    return decoys


def test_decoys_are_twins_spread_over_the_space() -> None:
    assert twins(SPACE, 0) == ()
    assert twins(SPACE, 2) == (SPACE.gates[0], SPACE.gates[5])
    assert twins(SPACE, 3) == (SPACE.gates[0], SPACE.gates[3], SPACE.gates[6])
    assert twins(SPACE, 10) == SPACE.gates
    assert twins(SPACE, 12) == SPACE.gates + SPACE.gates[:2]


def test_a_decoy_says_of_a_row_what_its_layer_says_of_another() -> None:
    decoys, (dense, tokens) = make(1), inputs(SPACE, ROWS)
    ones = torch.ones(ROWS, dtype=torch.float64)
    told = decoys(dense, tokens, [ones], PLACE)[1, "dense"]
    stem = torch.cat([dense, tokens.flatten(1)], dim=1)
    own = decoys.layers[0](type(decoys._shuffled(dense, tokens, PLACE))(stem, tokens, stem))
    order = [int((own - row).abs().sum(1).argmin()) for row in told]
    torch.testing.assert_close(told, own[order])
    assert sorted(order) == list(range(ROWS)), "every row once"
    assert order != list(range(ROWS))


def test_rows_are_dealt_by_seed_and_step() -> None:
    dense, tokens = inputs(SPACE, ROWS)

    def order(seed: int, step: int) -> list[float]:
        return make(1, seed)._shuffled(dense, tokens, Place(step, slice(0, ROWS), ROWS)).dense[:, 0].tolist()

    assert order(3, 5) == order(3, 5)
    assert order(3, 5) != order(3, 6)
    assert order(3, 5) != order(4, 5)


def test_decoys_teach_their_own_weights_and_gates_but_not_the_tables() -> None:
    network = GatedNetwork(SPACE, 12, Gating(decoys=10), 3).double()
    randomise(network)
    dense, tokens = inputs(SPACE, ROWS)
    tokens.requires_grad_()
    ones = [torch.ones(ROWS, dtype=torch.float64, requires_grad=True) for _ in network.decoys.gates]
    added = network.decoys(dense, tokens, ones, PLACE)
    assert set(added) == {(1, "dense"), (1, "sparse"), (2, "dense"), (2, "sparse")}
    torch.stack([value.sum() for value in added.values()]).sum().backward()
    assert tokens.grad is None
    assert all(one.grad is not None and one.grad.any() for one in ones)
    network(dense, tokens, 5, slice(0, ROWS), ROWS).square().sum().backward()
    assert network.alphas.grad is not None
    assert (network.alphas.grad[len(SPACE.gates) :] != 0).all()
    assert any(parameter.grad is not None for parameter in network.decoys.parameters())


def test_shut_decoys_and_those_that_have_left_change_nothing() -> None:
    dense, tokens = inputs(SPACE, ROWS)
    without = GatedNetwork(SPACE, 12, Gating(), 3).double()
    randomise(without)
    decoyed = GatedNetwork(SPACE, 12, Gating(decoys=4), 3).double()
    randomise(decoyed)
    decoyed.supernet.load_state_dict(without.supernet.state_dict())
    with torch.no_grad():
        without.alphas.fill_(40.0)
        decoyed.alphas.copy_(torch.tensor([40.0] * len(SPACE.gates) + [-60.0] * 4))
    at = (5, slice(0, ROWS), ROWS)
    torch.testing.assert_close(decoyed(dense, tokens, *at), without(dense, tokens, *at), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        decoyed.alphas[len(SPACE.gates) :] = 40.0
    assert not torch.allclose(decoyed(dense, tokens, *at), without(dense, tokens, *at))
    decoyed.decisions.left_at[len(SPACE.gates) :] = 1
    torch.testing.assert_close(decoyed(dense, tokens, *at), without(dense, tokens, *at), rtol=1e-9, atol=1e-9)


def test_a_decoy_costs_what_its_twin_costs_and_is_no_part_of_the_expected_network() -> None:
    rules = SpaceRules(1, (6,), (3,), ("linear", "fm"), ("embedded_fc",))
    space = SearchSpace(2, 3, 4, rules)
    network = GatedNetwork(space, 0, Gating(decoys=3), 3)
    costs = {Gate(1, "linear"): 2 * 14 * 6, Gate(1, "fm"): 2 * 4 * 6, Gate(1, "embedded_fc"): 2 * 4 * 3 * 3}
    assert dict(zip(network.decoys.gates, network.decoys.flops, strict=True)) == costs
    real, decoys = network.expected_flops()
    assert float(decoys.detach()) == pytest.approx(0.5 * sum(costs.values()))
    alone = GatedNetwork(space, 0, Gating(), 3)
    assert float(real.detach()) == pytest.approx(float(alone.expected_flops()[0].detach()))
