"""The promise of weight sharing for the spaces that have a name: drawn members, run on slices, are the networks that one takes out."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recsys_nas.cost import dense_flops
from recsys_nas.path_training import Path
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
@pytest.mark.parametrize("normalisation", ["", "none"])
@pytest.mark.parametrize("name", NAMED_SPACES)
def test_members_equal_their_extracted_networks_at_full_size(name: str, normalisation: str) -> None:
    """Logits and gradients within 1e-10 in float64 (its rounding) and 1e-5 in float32. Gradients are taken by the leaves of a path;
    full-size ones, compared above at small sizes, would take gigabytes."""
    space = full_size(name, normalisation)
    torch.manual_seed(0)
    supernets = {torch.float32: Supernet(space.full())}
    supernets[torch.float64] = deepcopy(supernets[torch.float32]).double()
    generator = Random(name + normalisation)
    for _ in range(MEMBERS // 2):
        member = space.sample(generator)
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
            compare_slices(supernets[dtype], member, inputs(space, 4, dtype), tolerance)


def full_size(name: str, normalisation: str = "") -> SearchSpace:
    rules = NAMED_SPACES[name]
    return SearchSpace(13, 26, 16, replace(rules, normalisation=normalisation) if normalisation else rules)  # type: ignore[arg-type]


def compare_slices(supernet: Supernet, member: Architecture, batch: tuple[Tensor, Tensor], tolerance: float) -> None:
    """As `compare`, with the gradients of a path."""
    path, derived = Path(supernet, member), supernet.extract(member)
    logits, gradients = [], []
    for run, weights in ((path, path.leaves), (derived, dict(derived.named_parameters()))):
        leaves = [value.clone().requires_grad_() for value in batch]
        logits.append(run(*leaves))
        by_name = dict(sorted(weights.items())) | dict(zip(("dense", "tokens"), leaves, strict=True))
        found = torch.autograd.grad(logits[-1].square().mean(), list(by_name.values()), allow_unused=True)
        gradients.append(dict(zip(by_name, found, strict=True)))
    logits.append(supernet(*batch, member))
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=tolerance, atol=tolerance)
    shared, alone = gradients
    assert shared.keys() == alone.keys()
    assert any(gradient is not None and gradient.any() for gradient in shared.values())
    for name, gradient in shared.items():
        other = alone[name]
        # An entry near zero is a sum of large ones, and is as exact as these.
        bound = tolerance if other is None else tolerance * max(1.0, float(other.abs().max()))
        torch.testing.assert_close(gradient, other, rtol=tolerance, atol=bound, msg=(name + ": {}").format)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED_SPACES)
def test_the_cost_is_torchs_count_at_full_size(name: str) -> None:
    space, generator = full_size(name), Random(name)
    supernet, batch = Supernet(space.full()), inputs(space, 2, torch.float32)
    for _ in range(MEMBERS):
        member = space.sample(generator)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            supernet(*batch, member)
        assert counter.get_total_flops() == 2 * dense_flops(member)
