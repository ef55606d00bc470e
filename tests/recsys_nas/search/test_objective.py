"""What is charged, and in which steps what moves."""

from __future__ import annotations

import math

import pytest
import torch

from recsys_nas.search.decisions import DecisionRules
from recsys_nas.search.dnas import GatedNetwork, Gating
from recsys_nas.search.objective import CostAware, Price
from recsys_nas.space import SearchSpace, SpaceRules

SPACE = SearchSpace(2, 3, 4, SpaceRules(2, (6,), (3,), ("linear", "fm"), ("embedded_fc",)))


def network(**gating: object) -> GatedNetwork:
    return GatedNetwork(SPACE, 100, Gating(**gating), 7)  # type: ignore[arg-type]


def penalty(net: GatedNetwork, price: Price) -> float:
    return float(CostAware(net, price).penalty().detach())


def test_the_price_is_the_expected_share_of_the_full_cost() -> None:
    net = network()
    assert penalty(net, Price(0.02)) == pytest.approx(0.02 * float(net.expected_cost_share().detach()))


def test_the_target_charges_the_logarithm_of_what_is_too_much_and_nothing_below() -> None:
    net = network()
    flops = float(net.expected_flops()[0].detach())
    assert penalty(net, Price(0.0, round(flops / 2), 0.3)) == pytest.approx(0.3 * math.log(flops / round(flops / 2)))
    assert penalty(net, Price(0.0, 2 * round(flops), 0.3)) == 0.0
    assert penalty(net, Price(0.01, 2 * round(flops), 0.3)) == 0.0, "nor by a share of the full cost"


def test_decoys_pay_too() -> None:
    assert penalty(network(decoys=3), Price(0.02)) > penalty(network(), Price(0.02))
    flops = round(float(network().expected_flops()[0].detach()))
    assert penalty(network(decoys=3), Price(0.0, flops, 0.3)) > 0.01


def test_a_single_level_search_moves_everything_after_the_rest() -> None:
    gating = Gating(rest_steps=3)
    assert [gating.moves(step) for step in (0, 2, 3, 4)] == [(True, False), (True, False), (True, True), (True, True)]


@pytest.mark.parametrize(("share", "every"), [(0.2, 5), (0.5, 2), (0.1, 10)])
def test_an_alternating_search_moves_one_of_both(share: float, every: int) -> None:
    gating = Gating(rest_steps=7, alpha_steps_share=share)
    moves = [gating.moves(step) for step in range(7, 7 + 20 * every)]
    assert all(weights != alphas for weights, alphas in moves)
    assert sum(alphas for _, alphas in moves) == 20
    assert [alphas for _, alphas in moves[:every]].count(True) == 1, "spread, not in a row"


def test_what_does_not_move_loses_its_gradient() -> None:
    net = network(rest_steps=1, alpha_steps_share=0.5)
    objective = CostAware(net, Price(0.01))

    def gradients(step: int) -> tuple[bool, bool]:
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        objective.before_update(step)
        weights = [parameter.grad is not None for parameter in net.weights()]
        assert all(weights) or not any(weights)
        return weights[0], net.alphas.grad is not None

    assert [gradients(step) for step in range(5)] == [(True, False), (True, False), (False, True), (True, False), (False, True)]


def test_tables_get_no_gradient_in_a_step_of_the_gates() -> None:
    net = network(alpha_steps_share=0.5)
    dense, tokens = torch.randn(6, 2), torch.randn(6, 3, 4, requires_grad=True)
    net(dense, tokens, 1, slice(0, 6), 6).sum().backward()
    assert tokens.grad is None
    net(dense, tokens, 2, slice(0, 6), 6).sum().backward()
    assert tokens.grad is not None


def test_the_search_is_done_when_the_gates_have_settled() -> None:
    net = network(rules=DecisionRules(settle_after=20, tolerance=0.05))
    objective = CostAware(net, Price(0.01))
    with torch.no_grad():
        net.alphas.fill_(3.0)
    done = []
    for step in range(40):
        objective.before_update(step)
        done.append(objective.is_done())
    assert done.index(True) == 29, "looked at after 10, 20 and 30 steps"


def test_figures_tell_gates_decoys_and_cost_next_to_the_target() -> None:
    figures = CostAware(network(decoys=2), Price(0.01, 500, 0.01)).figures()
    assert figures["gates/1/linear"] == 0.5
    assert {name for name in figures if name.startswith("decoys/")} == {"decoys/0_1/linear", "decoys/1_2/linear"}
    assert figures["search/target_flops"] == 500
    assert figures["search/expected_dense_flops"] == pytest.approx(float(network().expected_flops()[0].detach()))
    assert figures["search/modules_left"] == 6
    assert figures["search/undecided_share"] == 1.0
    assert figures["alphas/1/linear"] == 0
    assert "search/target_flops" not in CostAware(network(), Price(0.01)).figures()
