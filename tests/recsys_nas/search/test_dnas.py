"""Gates: the same noise for any split of the work, the right limits when they are open or shut, and a price that reaches them."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from recsys_nas.cost import dense_flops
from recsys_nas.search.dnas import GatedNetwork, Gating
from recsys_nas.space import Gate, SearchSpace, SpaceRules
from recsys_nas.supernet import Supernet
from tests.recsys_nas.random_networks import SILENCE_IS_ABSENCE, inputs, randomise, spaces_and_gates

SPACE = SearchSpace(2, 3, 4, SpaceRules(2, (6,), (3,), ("linear", "cross", "fm", "dot_product"), ("embedded_fc", "self_attention")))
ROWS = 12
OPEN = 40.0


def gated(space: SearchSpace = SPACE, temperature: float = 1.0, seed: int = 7, lookup_flops: int = 12) -> GatedNetwork:
    network = GatedNetwork(space, lookup_flops, Gating(temperature), seed).double()
    randomise(network)
    return network


def set_alphas(network: GatedNetwork, kept: tuple[Gate, ...]) -> None:
    """Open these gates and shut the others, beyond the reach of the noise."""
    with torch.no_grad():
        network.alphas.copy_(torch.tensor([OPEN if gate in kept else -OPEN for gate in network.space.gates]))


def run(network: GatedNetwork, step: int = 5, rows: slice = slice(0, ROWS)) -> Tensor:
    dense, tokens = inputs(network.space, ROWS)
    logits: Tensor = network(dense[rows], tokens[rows], step, rows, ROWS)
    return logits


@pytest.mark.parametrize("cuts", [(4, 8), (3, 6, 9), (5,)])
def test_any_split_of_a_steps_rows_over_ranks_gives_the_same_logits(cuts: tuple[int, ...]) -> None:
    network = gated()
    edges = (0, *cuts, ROWS)
    pieces = [run(network, rows=slice(start, end)) for start, end in itertools.pairwise(edges)]
    torch.testing.assert_close(torch.cat(pieces), run(network), rtol=1e-12, atol=1e-12)


def test_the_noise_is_drawn_anew_for_each_step_and_the_same_again_after_a_resume() -> None:
    first, again = gated(), gated()
    assert not torch.equal(run(first, step=5), run(first, step=6))
    assert torch.equal(run(first, step=5), run(again, step=5))


@pytest.mark.parametrize("seed", [0, 1, 8, 2026 * 1000 + 3, 2**32, 2**33, 20261121 * 1000 + 2, 2**70])
def test_every_seed_has_noise_of_its_own(seed: int) -> None:
    """Seeds are made of a run's seed and a day, so they are large; torch's own CPU generator would heed 32 bits of them."""
    assert not torch.equal(run(gated(seed=seed)), run(gated(seed=7)))


def test_the_noise_leaves_the_global_generator_alone() -> None:
    network = gated()
    before = torch.get_rng_state()
    run(network)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_noise_is_logistic_and_independent_between_examples_gates_and_steps() -> None:
    network = gated()
    noise = torch.stack([network._noise(step, 200) for step in range(10)])
    assert noise.shape == (10, 200, len(SPACE.gates))
    assert noise.isfinite().all()
    # 24,000 draws: the mean of a logistic variable is 0, its variance pi squared over 3; its sigmoid is uniform.
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.var()) == pytest.approx(math.pi**2 / 3, rel=0.05)
    quantiles = torch.quantile(torch.sigmoid(noise).flatten(), torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.5, 0.9]), rtol=0, atol=0.02)
    for axis in range(3):
        series = noise.movedim(axis, 0)
        correlation = torch.corrcoef(torch.stack([series[:-1].flatten(), series[1:].flatten()]))[0, 1]
        assert abs(float(correlation)) < 0.03


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_gate_is_the_sigmoid_of_alpha_and_noise_over_temperature_for_each_example(temperature: float) -> None:
    space = SearchSpace(2, 3, 4, SpaceRules(1, (6,), (3,), ("linear",), ()))
    network = gated(space, temperature)
    noise = network._noise(5, ROWS)[:, 0].double()
    expected = 1 / (1 + torch.exp(-(network.alphas[0] + noise) / temperature))
    # The logits are linear in the only gate: where they stand between shut and open is its value.
    logits = run(network)
    set_alphas(network, ())
    shut = run(network)
    set_alphas(network, space.gates)
    torch.testing.assert_close((logits - shut) / (run(network) - shut), expected, rtol=1e-6, atol=1e-9)
    assert float(expected.detach().std()) > 0.05, "one draw for all examples"


def test_with_all_gates_open_it_is_the_full_network() -> None:
    network = gated()
    set_alphas(network, SPACE.gates)
    torch.testing.assert_close(run(network), network.supernet.full(*inputs(SPACE, ROWS)), rtol=1e-8, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(choice=spaces_and_gates(SILENCE_IS_ABSENCE))
def test_shut_gates_leave_the_member_that_the_supernet_slices_out(choice: tuple[SearchSpace, tuple[Gate, ...]]) -> None:
    space, kept = choice
    network = gated(space, seed=random.Random(0).getrandbits(8))
    set_alphas(network, kept)
    supernet = Supernet(space.full()).double()
    supernet.load_state_dict(network.supernet.state_dict())
    member = supernet(*inputs(space, ROWS), space.architecture(kept))
    torch.testing.assert_close(run(network), member, rtol=1e-7, atol=1e-7)


def test_one_shut_gate_leaves_the_network_without_that_module() -> None:
    network = gated()
    supernet = Supernet(SPACE.full()).double()
    supernet.load_state_dict(network.supernet.state_dict())
    full = network.supernet.full(*inputs(SPACE, ROWS))
    for gate in SPACE.gates:
        kept = tuple(other for other in SPACE.gates if other != gate)
        set_alphas(network, kept)
        without = supernet.extract(SPACE.architecture(kept))(*inputs(SPACE, ROWS))
        torch.testing.assert_close(run(network), without, rtol=1e-8, atol=1e-8)
        assert not torch.allclose(without, full), f"{gate} makes no difference"


@settings(max_examples=30, deadline=None)
@given(choice=spaces_and_gates())
def test_gates_that_have_left_leave_the_member_itself(choice: tuple[SearchSpace, tuple[Gate, ...]]) -> None:
    """Unlike a shut gate's, its silence is not heard either: also in modules to which silence is not absence."""
    space, kept = choice
    network = gated(space)
    set_alphas(network, kept)
    network.decisions.left_at.copy_(torch.tensor([-1 if gate in kept else 10 for gate in space.gates]))
    member = network.supernet.extract(space.architecture(kept))
    torch.testing.assert_close(run(network), member(*inputs(space, ROWS)), rtol=1e-7, atol=1e-7)
    expected = dense_flops(space.architecture(kept))
    assert float(network.expected_flops()[0].detach()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("left", [False, True])
def test_dropout_is_behind_every_module_while_it_is_trained_also_once_gates_have_left(left: bool) -> None:
    plain, dropped = (GatedNetwork(SPACE, 12, Gating(dropout=dropout), 7).double() for dropout in (0.0, 0.5))
    for network in (plain, dropped):
        randomise(network)
        if left:
            network.decisions.left_at[2:5] = 10
    assert torch.equal(run(plain), run(plain))
    assert not torch.equal(run(dropped), run(dropped)), "drawn anew in each pass"
    mean = torch.stack([run(dropped.requires_grad_(False)) for _ in range(30)]).std(0)
    assert (mean > 0).all(), "for every row"


def test_what_has_left_is_neither_trained_nor_priced() -> None:
    network = gated()
    kept = tuple(gate for gate in SPACE.gates if gate.module == "linear" or gate.block == 1)
    network.decisions.left_at.copy_(torch.tensor([-1 if gate in kept else 10 for gate in SPACE.gates]))
    (run(network).square().sum() + network.expected_cost_share()).backward()
    blocks = network.supernet.full.blocks
    assert all(parameter.grad is None for parameter in blocks["2"]["fm"].parameters())  # type: ignore[index]
    assert all(parameter.grad is not None for parameter in blocks["2"]["linear"].parameters())  # type: ignore[index]
    assert network.alphas.grad is not None
    assert [gate for gate, grad in zip(SPACE.gates, network.alphas.grad, strict=True) if grad] == list(kept)


def test_noise_by_batch_is_one_draw_for_all_rows() -> None:
    network = GatedNetwork(SPACE, 12, Gating(noise="batch"), 7)
    noise = network._noise(5, ROWS)
    assert noise.shape == (ROWS, len(SPACE.gates))
    assert (noise == noise[0]).all()
    assert not torch.equal(noise, network._noise(6, ROWS))


def test_the_temperature_goes_down_in_equal_ratios_or_stays() -> None:
    gating = Gating(2.0, 0.5, steps=100)
    assert [gating.temperature_at(step) for step in (0, 50, 100, 150)] == pytest.approx([2.0, 1.0, 0.5, 0.5])
    assert Gating(2.0, steps=100).temperature_at(70) == 2.0


def test_the_cost_share_counts_dense_work_and_lookups() -> None:
    network = gated(lookup_flops=500)
    set_alphas(network, SPACE.gates)
    assert float(network.expected_cost_share().detach()) == 1.0
    for kept in (SPACE.gates[:1], SPACE.gates[3:9], SPACE.gates[-2:]):
        set_alphas(network, kept)
        expected = (dense_flops(SPACE.architecture(kept)) + 500) / (dense_flops(SPACE.full()) + 500)
        assert float(network.expected_cost_share().detach()) == pytest.approx(expected, rel=1e-12)


def test_loss_and_cost_both_reach_every_alpha() -> None:
    network = gated()
    with torch.no_grad():
        network.alphas.zero_()
    run(network).square().sum().backward()
    assert network.alphas.grad is not None
    assert (network.alphas.grad != 0).all()
    (price,) = torch.autograd.grad(network.expected_cost_share(), network.alphas)
    assert (price > 0).all()


def test_alphas_start_undecided_and_probabilities_have_no_noise() -> None:
    network = GatedNetwork(SPACE, 12, Gating(), 0)
    assert not network.alphas.any()
    with torch.no_grad():
        network.alphas.copy_(torch.arange(len(SPACE.gates)))
    expected = [1 / (1 + math.exp(-i)) for i in range(len(SPACE.gates))]
    torch.testing.assert_close(network.probabilities().detach(), torch.tensor(expected))
