"""Elements that operations read and write, against counts by hand and against the same forward pass on real memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.cost.traffic import ELSEWHERE, _TrafficCounter, activation_elements
from recsys_nas.model import InteractionArch
from recsys_nas.space import Architecture
from tests.recsys_nas.random_networks import hulls, inputs


class Small(nn.Module):
    """A linear layer on joined features, ReLU, a view, and tokens scaled by a number that is spread over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2 + 3 * 4, 5)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        joined = torch.cat([dense, tokens.flatten(1)], dim=1)  # reads and writes 14
        made = F.relu(self.inner(joined))  # inside: reads 14, writes 5; then reads and writes 5
        viewed = made.view(-1, 5, 1).transpose(1, 2)  # free
        spread = dense[:, :1].expand(-1, 5)  # free
        return (viewed.squeeze(1) * spread * self.scale).sum(1)  # 5 + 1 (spread) + 5; 5 + 5; 5 + 1


def test_each_operation_reads_its_inputs_and_writes_its_outputs_once() -> None:
    network = Small()
    elsewhere = (14 + 14) + (5 + 5) + (5 + 1 + 5) + (5 + 5) + (5 + 1)
    assert activation_elements(network, (2, 3, 4), {"inner": network.inner}) == {"inner": 14 + 5, ELSEWHERE: elsewhere}
    assert activation_elements(network, (2, 3, 4), {}) == {ELSEWHERE: 14 + 5 + elsewhere}


def test_the_network_keeps_its_weights_its_mode_and_its_hooks() -> None:
    network = Small().train()
    before = network.inner.weight.detach().clone()
    activation_elements(network, (2, 3, 4), {"inner": network.inner})
    assert network.training
    assert network.inner.weight.device.type == "cpu"
    assert torch.equal(network.inner.weight, before)
    assert not network.inner._forward_hooks
    assert not network.inner._forward_pre_hooks


@settings(max_examples=25, deadline=None)
@given(architecture=hulls())
def test_the_count_on_the_meta_device_is_that_of_a_real_forward_pass(architecture: Architecture) -> None:
    network = InteractionArch(architecture)
    counts = []
    for rows in (4, 5):
        counter, batch = _TrafficCounter({}), inputs(architecture, rows, torch.float32)
        with torch.no_grad(), counter:
            network(*batch)
        counts.append(counter.elements[ELSEWHERE])
    sizes = (architecture.num_dense, architecture.num_sparse, architecture.embedding_dim)
    assert activation_elements(network, sizes, {}) == {ELSEWHERE: counts[1] - counts[0]}


def test_parts_that_are_not_in_the_network_are_refused() -> None:
    with pytest.raises(KeyError):
        activation_elements(Small(), (2, 3, 4), {"other": nn.Linear(1, 1)})
