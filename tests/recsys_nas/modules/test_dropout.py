"""Dropout on a CPU: the share, the scale, independence of neighbours, and the global generator."""

from __future__ import annotations

import pytest
import torch

from recsys_nas.modules.dropout import Dropout, dropout


@pytest.mark.parametrize("share", [0.1, 0.4, 0.75])
def test_the_share_is_dropped_and_the_rest_scaled(share: float) -> None:
    torch.manual_seed(1)
    x = torch.full((400, 1001), 3.0)
    out = dropout(x, share)
    kept = out != 0
    # 400,400 draws: a standard error of at most .0008
    assert float(kept.float().mean()) == pytest.approx(1 - share, abs=0.004)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 3 / (1 - share)))
    # Four neighbours share one draw of 64 bits, and must not know of each other.
    flat = kept.flatten()[:400_000].view(-1, 4).float()
    correlations = torch.corrcoef(flat.T)
    assert (correlations - torch.eye(4)).abs().max() < 0.015


def test_gradients_pass_where_values_do() -> None:
    x = torch.randn(30, 7, requires_grad=True)
    out = dropout(x, 0.5)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(out == 0, 0.0, 2.0))


def test_draws_follow_the_global_generator_and_evaluation_drops_nothing() -> None:
    layer, x = Dropout(0.4), torch.randn(5, 9).to(torch.bfloat16)
    torch.manual_seed(4)
    first = layer(x)
    torch.manual_seed(4)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert first.dtype == torch.bfloat16
    assert layer.eval()(x) is x
