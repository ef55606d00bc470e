"""The published models: their FLOPs and parameters by hand at Criteo's sizes, and that all of them can learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recsys_nas.cost import counted_flops
from recsys_nas.zoo.catalogue import FOUND, FULL_SUPERNET, MODELS, RUN_MODELS
from recsys_nas.zoo.networks import NETWORKS

CRITEO = (13, 26, 16)
RAW = 13 + 26 * 16
FIELDS = 13 + 26
WIDTH = FIELDS * 16
# Multiply-adds of the weight matrices, which are also how many weights there are.
HIDDEN = 400 * 400 + 400 * 400
DEEP = WIDTH * 400 + HIDDEN + 400
DEEP_BIASES = 1200 + 1
VECTORS = 13 * 16
WUKONG_FM = 512 * 256 + 256 * 40 * 16
WUKONG_HEAD = 80 * 16 * 512 + 512 * 256 + 256
# Each weight of a matrix is used once an example ...
ONCE = {
    "dlrm": (13 * 512 + 512 * 256 + 256 * 64 + 64 * 16) + ((16 + 351) * 512 + 512 * 256 + 256),
    "dcnv2": 3 * RAW * RAW + RAW * 400 + HIDDEN + (RAW + 400),
    "mlp": RAW * 400 + HIDDEN + 400,
    "lr": RAW,
    "fm": RAW,
    "deepfm": RAW + DEEP,
    "xdeepfm": RAW + DEEP + 2 * 16,
    "autoint_plus": RAW + DEEP + FIELDS * 256,
    "finalmlp": WIDTH * 400 + HIDDEN + WIDTH * 1000 + 400 + 1000 + 200 * 2 * 5,
    "wukong": (FIELDS + 80 + 80) * 8 * 512 + 3 * WUKONG_FM + WUKONG_HEAD,
}
# ... but for those that work on every dimension (CIN, mixtures of tokens) or on every token (attention).
EACH_DIMENSION = {"xdeepfm": 16 * FIELDS * FIELDS + 16 * FIELDS * 16, "wukong": (8 + 40) * (FIELDS + 80 + 80) + 80 * FIELDS}
EACH_TOKEN = {"autoint_plus": 4 * 16 * 256 + 2 * 3 * 256 * 256}
# Products of activations: pairs of vectors, attention, tokens with their mixtures.
PRODUCTS = {"dlrm": 27 * 27 * 16, "autoint_plus": 3 * 2 * FIELDS * FIELDS * 256, "wukong": 16 * 8 * (FIELDS + 80 + 80)}
# Biases, vectors of numeric features, scales of normalisations.
OTHER = {
    "dlrm": (512 + 256 + 64 + 16) + (512 + 256 + 1),
    "dcnv2": 3 * RAW + DEEP_BIASES,
    "mlp": DEEP_BIASES,
    "lr": 1,
    "fm": VECTORS + 1,
    "deepfm": VECTORS + 1 + DEEP_BIASES,
    "xdeepfm": VECTORS + 1 + DEEP_BIASES + 2 * 16 + 1,
    "autoint_plus": VECTORS + 1 + DEEP_BIASES + 1 + 3 * 2 * 256,
    "finalmlp": VECTORS + 1200 + 1000 + 2,
    "wukong": VECTORS + 2 * 8 * (FIELDS + 80 + 80) + 3 * (512 + 256 + 640) + 80 + 3 * 2 * 16 + (512 + 256 + 1),
}


def flops(name: str) -> int:
    return 2 * (ONCE[name] + 16 * EACH_DIMENSION.get(name, 0) + FIELDS * EACH_TOKEN.get(name, 0) + PRODUCTS.get(name, 0))


def parameters(name: str) -> int:
    return ONCE[name] + EACH_DIMENSION.get(name, 0) + EACH_TOKEN.get(name, 0) + OTHER[name]


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_model_of_the_catalogue_has_a_network() -> None:
    assert set(NETWORKS) == set(MODELS)
    assert RUN_MODELS == (FOUND, FULL_SUPERNET, *MODELS)
    assert all(model.name == name for name, model in MODELS.items())


@pytest.mark.parametrize("name", sorted(ONCE))
def test_flops_and_parameters_are_those_counted_by_hand(name: str) -> None:
    network = NETWORKS[name](*CRITEO)
    assert counted_flops(network, *CRITEO) == flops(name)
    assert size(network) == parameters(name)


def test_the_figures_by_hand_are_these() -> None:
    # Those that are Architectures alone have their figures in test_architectures.py.
    assert set(MODELS) - set(ONCE) == {"nasrecnet", "dhen"}
    assert {name: (flops(name), parameters(name)) for name in ONCE} == {
        "dlrm": (972_064, 475_985),
        "dcnv2": (2_089_104, 1_047_040),
        "mlp": (984_000, 493_201),
        "lr": (858, 430),
        "fm": (858, 638),
        "deepfm": (1_140_858, 571_839),
        "xdeepfm": (2_239_162, 606_224),
        "autoint_plus": (37_782_138, 992_960),
        "finalmlp": (2_394_000, 1_199_410),
        "wukong": (5_429_504, 2_507_761),
    }


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](4, 5, 8)
    # Small embeddings, as tables have them at first: some networks have no normalisation and raise them to high powers.
    dense, tokens, labels = torch.rand(64, 4), (0.1 * torch.randn(64, 5, 8)).requires_grad_(), torch.rand(64).round()
    logits = network(dense, tokens)
    assert logits.shape == (64,)
    before = nn.functional.binary_cross_entropy_with_logits(logits, labels)
    before.backward()
    assert tokens.grad is not None
    assert bool(tokens.grad.any(2).any(0).all()), "an embedding is not read"
    # Logistic regression has a head of no features.
    learnt = {name: parameter for name, parameter in network.named_parameters() if parameter.numel()}
    assert [name for name, parameter in learnt.items() if parameter.grad is None or not bool(parameter.grad.any())] == []
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    assert nn.functional.binary_cross_entropy_with_logits(network(dense, tokens), labels) < before


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_row_does_not_depend_on_the_others(name: str) -> None:
    network = NETWORKS[name](4, 5, 8).double()
    generator = torch.Generator().manual_seed(2)
    dense = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    tokens = torch.randn(3, 5, 8, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(network(dense, tokens)[1:2], network(dense[1:2], tokens[1:2]), rtol=1e-10, atol=1e-12)
