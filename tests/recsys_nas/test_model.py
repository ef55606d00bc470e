"""The network of an architecture, against the same network written out by hand from its parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.model import InteractionArch
from recsys_nas.modules import Inputs
from recsys_nas.space import Architecture, Block
from tests.recsys_nas.random_networks import hulls, inputs, randomise

NETWORK = Architecture(
    2,
    3,
    4,
    (Block.reading((0,), ("linear", "cross"), 5, ("embedded_fc",), 3), Block.reading((1, 0), ("dot_product",), 6, ("self_attention",), 2)),
    (2, 1),
)


def network_of(architecture: Architecture) -> InteractionArch:
    network = InteractionArch(architecture).double()
    randomise(network)
    return network


@pytest.mark.parametrize("normalisation", ["rms", "layer", "none"])
@pytest.mark.parametrize("stem", ["flat", "split"])
def test_forward_is_the_sum_of_modules_block_by_block(stem: str, normalisation: str) -> None:
    network = network_of(replace(NETWORK, stem=stem, normalisation=normalisation))  # type: ignore[arg-type]
    dense, tokens = inputs(NETWORK)
    weights = dict(network.named_parameters())

    def module(block: int, name: str, x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = network.blocks[str(block)][name].layer(Inputs(x, t, x[:, :0]))  # type: ignore[index]
        if normalisation == "none":
            return output
        if normalisation == "layer":
            return F.layer_norm(output, output.shape[-1:])
        return output / (output.square().mean(-1, keepdim=True) + 0.1).sqrt()

    raw = torch.cat([dense, tokens.reshape(3, -1)], dim=1)
    x0 = raw if stem == "flat" else dense
    x1 = module(1, "linear", x0, tokens) + module(1, "cross", x0, tokens)
    t1 = module(1, "embedded_fc", x0, tokens)
    # Sources are joined in the order of the blocks, however the architecture lists them.
    joined = torch.cat([x0, x1], dim=1), torch.cat([tokens, t1], dim=1)
    x2, t2 = module(2, "dot_product", *joined), module(2, "self_attention", *joined)
    read = torch.cat([x1, t1.reshape(3, -1), x2, t2.reshape(3, -1)], dim=1)
    expected = read @ weights["head"].T + raw @ weights["skip"].T + weights["bias"]
    torch.testing.assert_close(network(dense, tokens), expected.squeeze(1), rtol=1e-10, atol=1e-10)


def test_without_blocks_it_is_logistic_regression_on_the_raw_stem() -> None:
    network = network_of(replace(NETWORK, blocks=(), head=()))
    dense, tokens = inputs(NETWORK)
    assert {name for name, value in network.named_parameters() if value.numel()} == {"skip", "bias"}
    expected = F.linear(torch.cat([dense, tokens.flatten(1)], dim=1), network.get_parameter("skip"), network.bias).squeeze(1)
    torch.testing.assert_close(network(dense, tokens), expected, rtol=1e-12, atol=1e-12)


def test_without_linear_skip_only_the_head_is_read() -> None:
    network = network_of(replace(NETWORK, blocks=(), head=(0,), linear_skip=False, stem="split"))
    dense, tokens = inputs(NETWORK)
    assert {name for name, _ in network.named_parameters()} == {"head", "bias"}
    expected = F.linear(torch.cat([dense, tokens.flatten(1)], dim=1), network.head, network.bias).squeeze(1)
    torch.testing.assert_close(network(dense, tokens), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(architecture=hulls())
def test_only_blocks_that_lead_to_the_head_have_weights(architecture: Architecture) -> None:
    network = InteractionArch(architecture)
    assert tuple(map(int, network.blocks)) == architecture.reachable_blocks()
    logits = network(*inputs(architecture, rows=4, dtype=torch.float32))
    assert logits.shape == (4,)
    assert logits.isfinite().all()


def test_one_seed_gives_the_same_weights_to_equal_networks() -> None:
    first = replace(NETWORK.blocks[0], modules=NETWORK.blocks[0].modules[::-1])
    states = []
    for architecture in (NETWORK, replace(NETWORK, blocks=(first, NETWORK.blocks[1]))):
        torch.manual_seed(4)
        states.append(InteractionArch(architecture).state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
