"""The published models: their FLOPs and parameters by hand at Criteo's sizes, and their formulas written out."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from recsys_nas.cost import counted_flops
from recsys_nas.zoo.catalogue import FOUND, FULL_SUPERNET, MODELS, RUN_MODELS
from recsys_nas.zoo.networks import NETWORKS, DcnV2, Dlrm, Mlp
from tests.recsys_nas.random_networks import randomise

CRITEO = (13, 26, 16)
RAW = 13 + 26 * 16
# Multiply-adds of the weight matrices, which are also how many weights there are.
DEEP = RAW * 400 + 400 * 400 + 400 * 400
WEIGHTS = {
    "dlrm": (13 * 512 + 512 * 256 + 256 * 64 + 64 * 16) + ((16 + 351) * 512 + 512 * 256 + 256),
    "dcnv2": 3 * RAW * RAW + DEEP + (RAW + 400),
    "mlp": DEEP + 400,
}
BIASES = {"dlrm": (512 + 256 + 64 + 16) + (512 + 256 + 1), "dcnv2": 3 * RAW + 1200 + 1, "mlp": 1200 + 1}
# DLRM multiplies the matrix of its 27 vectors by its transpose.
PRODUCTS = {"dlrm": 27 * 27 * 16, "dcnv2": 0, "mlp": 0}


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 4, generator=generator, dtype=dtype), torch.randn(3, 5, 8, generator=generator, dtype=dtype)


def randomised(network: nn.Module) -> nn.Module:
    randomise(network.double())
    return network


def test_every_model_of_the_catalogue_has_a_network() -> None:
    assert list(NETWORKS) == list(MODELS)
    assert RUN_MODELS == (FOUND, FULL_SUPERNET, *MODELS)
    assert all(model.name == name for name, model in MODELS.items())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_flops_and_parameters_are_those_counted_by_hand(name: str) -> None:
    network = NETWORKS[name](*CRITEO)
    assert counted_flops(network, *CRITEO) == 2 * (WEIGHTS[name] + PRODUCTS[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == WEIGHTS[name] + BIASES[name]


def test_the_figures_by_hand_are_these() -> None:
    assert {name: 2 * (WEIGHTS[name] + PRODUCTS[name]) for name in WEIGHTS} == {"dlrm": 972_064, "dcnv2": 2_089_104, "mlp": 984_000}


def relu_layers(x: Tensor, layers: list[nn.Linear]) -> Tensor:
    for layer in layers:
        x = (x @ layer.weight.T + layer.bias).clamp(min=0)
    return x


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def test_mlp_formula() -> None:
    network = randomised(Mlp(4, 5, 8))
    dense, tokens = batch()
    *deep, head = linear_layers(network)
    expected = relu_layers(torch.cat([dense, tokens.flatten(1)], dim=1), deep) @ head.weight.T + head.bias
    torch.testing.assert_close(network(dense, tokens), expected.squeeze(1), rtol=1e-10, atol=1e-6)


def test_dcnv2_formula() -> None:
    network = randomised(DcnV2(4, 5, 8))
    dense, tokens = batch()
    *layers, head = linear_layers(network)
    x0 = torch.cat([dense, tokens.flatten(1)], dim=1)
    x = x0
    for cross in layers[:3]:
        x = x0 * (x @ cross.weight.T + cross.bias) + x
    expected = torch.cat([x, relu_layers(x0, layers[3:])], dim=1) @ head.weight.T + head.bias
    torch.testing.assert_close(network(dense, tokens), expected.squeeze(1), rtol=1e-10, atol=1e-6)


def test_dlrm_formula() -> None:
    network = randomised(Dlrm(4, 5, 8))
    dense, tokens = batch()
    layers = linear_layers(network)
    bottom = relu_layers(dense, layers[:4])
    pairs = [(a * b).sum(1) for a, b in itertools.combinations([bottom, *tokens.unbind(1)], 2)]
    top = relu_layers(torch.cat([bottom, torch.stack(pairs, dim=1)], dim=1), layers[4:-1])
    expected = top @ layers[-1].weight.T + layers[-1].bias
    torch.testing.assert_close(network(dense, tokens), expected.squeeze(1), rtol=1e-10, atol=1e-6)
