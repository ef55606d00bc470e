"""Training slice by slice is training the supernet: the same weights as Adagrad over all full-size parameters, step after step."""

from __future__ import annotations

from random import Random

import pytest
import torch

from recsys_nas.path_training import Path, PathAdagrad
from recsys_nas.space import NAMED_SPACES
from recsys_nas.supernet import Supernet
from tests.recsys_nas.random_networks import inputs
from tests.recsys_nas.test_supernet_of_spaces import narrowed


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", NAMED_SPACES)
def test_path_steps_equal_full_size_adagrad(name: str, clip: float | None) -> None:
    space = narrowed(name)
    torch.manual_seed(3)
    sliced = Supernet(space.full()).double()
    full = Supernet(space.full()).double()
    full.load_state_dict(sliced.state_dict())
    start = {key: value.clone() for key, value in full.state_dict().items()}
    ours, theirs = PathAdagrad(sliced, 0.1, 1e-2), torch.optim.Adagrad(full.parameters(), lr=0.1, eps=1e-2)
    generator = Random(name)
    dense, tokens = inputs(space, 8)
    for _ in range(12):
        member = space.sample(generator)
        path = Path(sliced, member)
        loss = path(dense, tokens).square().mean()
        loss.backward()
        expected = full(dense, tokens, member).square().mean()
        assert torch.equal(loss, expected) or torch.allclose(loss, expected, rtol=1e-10)
        theirs.zero_grad()
        expected.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(path.parameters(), clip)
            torch.nn.utils.clip_grad_norm_(full.parameters(), clip)
        ours.step(path)
        theirs.step()
    moved = 0
    for key, value in full.state_dict().items():
        torch.testing.assert_close(sliced.state_dict()[key], value, rtol=1e-9, atol=1e-11)
        moved += int((value != start[key]).sum())
    assert moved > 100
    assert all(parameter.grad is None for parameter in sliced.parameters()), "no full-size gradient was made"
