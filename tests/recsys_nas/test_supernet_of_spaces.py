"""The promise of weight sharing for the spaces that have a name: drawn members, run on slices, are the networks that one takes out."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recsys_nas.cost import dense_flops
from recsys_nas.space import NAMED_SPACES, Architecture, SearchSpace
from recsys_nas.supernet import Supernet
from tests.recsys_nas.random_networks import assert_equal_to_rounding, inputs, randomise

MEMBERS = 300
NARROW: dict[str, object] = {"num_blocks": 3, "dense_widths": (2, 3, 8, 11), "token_counts": (2, 3, 5)}
"""Sizes at which every space runs by the hundred; widths equal to those of inputs are among them, so that projections drop."""


def narrowed(name: str, normalisation: str = "") -> SearchSpace:
    rules = NAMED_SPACES[name]
    changes = NARROW if rules.pick == "one" else NARROW | {"dense_widths": (11,), "token_counts": (5,)}
    changes = changes | ({"merger_tokens": 2} if rules.merger_tokens else {}) | ({"normalisation": normalisation} if normalisation else {})
    return SearchSpace(3, 4, 4, replace(rules, **changes))  # type: ignore[arg-type]


def compare(supernet: Supernet, member: Architecture, batch: tuple[Tensor, Tensor], tolerance: float) -> None:
    """Logits, and gradients by weights and by inputs, of the two ways to run a member."""
    derived = supernet.extract(member)
    ways = []
    for run in (lambda dense, tokens: supernet(dense, tokens, member), derived):
        dense, tokens = (value.clone().requires_grad_() for value in batch)
        logits = run(dense, tokens)
        logits.square().sum().backward()
        ways.append((logits, dense.grad, tokens.grad))
    shared, alone = ways
    for mine, theirs in zip(shared, alone, strict=True):
        if tolerance:
            torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
        else:
            assert_equal_to_rounding(mine, theirs)
    used = supernet.sliced_parameters(member)
    touched = 0
    for name, parameter in derived.named_parameters():
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert used[name].shape == grad.shape
        touched += int(grad.count_nonzero())
    kept = sum(int(parameter.grad.count_nonzero()) for parameter in supernet.parameters() if parameter.grad is not None)
    assert kept == touched, "gradients reach the slice and nothing else"
    supernet.zero_grad()


@pytest.mark.parametrize("normalisation", ["", "none"])
@pytest.mark.parametrize("name", NAMED_SPACES)
def test_members_equal_their_extracted_networks(name: str, normalisation: str) -> None:
    space = narrowed(name, normalisation)
    supernet = Supernet(space.full()).double()
    randomise(supernet)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.mul_(0.5)
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    generator, batch = Random(name + normalisation), inputs(space, 2)
    for _ in range(MEMBERS // 2):
        compare(supernet, space.sample(generator), batch, tolerance=0)
    after = supernet.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", NAMED_SPACES)
def test_a_path_costs_what_the_stand_alone_network_costs(name: str) -> None:
    """FLOPs as torch counts them, forward and backward; the forward ones are those of the formulas."""
    space, generator = narrowed(name), Random(name)
    supernet, batch = Supernet(space.full()), inputs(space, 2, torch.float32)
    for _ in range(15):
        member = space.sample(generator)
        counts = []
        for run in (lambda dense, tokens, member=member: supernet(dense, tokens, member), supernet.extract(member)):
            with FlopCounterMode(display=False) as counter:
                logits = run(*batch)
                forward = counter.get_total_flops()
                logits.sum().backward()
            counts.append((forward, counter.get_total_flops()))
        assert counts[0] == counts[1]
        assert counts[0][0] == 2 * dense_flops(member)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED_SPACES)
def test_members_equal_their_extracted_networks_at_full_size(name: str) -> None:
    space = SearchSpace(13, 26, 16, NAMED_SPACES[name])
    torch.manual_seed(0)
    supernet = Supernet(space.full())
    generator, batch = Random(name), inputs(space, 4, torch.float32)
    for _ in range(MEMBERS):
        member = space.sample(generator)
        with torch.no_grad():
            torch.testing.assert_close(supernet(*batch, member), supernet.extract(member)(*batch), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED_SPACES)
def test_the_cost_is_torchs_count_at_full_size(name: str) -> None:
    space, generator = SearchSpace(13, 26, 16, NAMED_SPACES[name]), Random(name)
    supernet, batch = Supernet(space.full()), inputs(space, 2, torch.float32)
    for _ in range(MEMBERS):
        member = space.sample(generator)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            supernet(*batch, member)
        assert counter.get_total_flops() == 2 * dense_flops(member)
