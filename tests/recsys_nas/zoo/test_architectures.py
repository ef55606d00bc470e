"""What the space can say of the zoo: its `Architecture`s against published sizes, and claims of exactness against code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recsys_nas.cost import counted_flops, dense_flops
from recsys_nas.model import InteractionArch
from recsys_nas.space import Architecture, Block, ModuleChoice, load_architecture
from recsys_nas.zoo.architectures import ARCHITECTURES, nasrec_small_criteo
from recsys_nas.zoo.catalogue import MODELS
from recsys_nas.zoo.mlp import Mlp
from tests.recsys_nas.random_networks import inputs, randomise

GOLDEN = Path(__file__).parent.parent / "golden"


def test_the_catalogue_says_which_are_architectures() -> None:
    assert {name for name, model in MODELS.items() if model.form == "architecture"} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_flops_by_formula_are_those_that_torch_counts(name: str) -> None:
    for sizes in ((13, 26, 16), (2, 3, 4)):
        architecture = ARCHITECTURES[name](*sizes)
        assert dense_flops(architecture) == counted_flops(InteractionArch(architecture), *sizes)


@pytest.mark.parametrize(("name", "flops", "parameters"), [("nasrecnet", 4_415_616, 1_743_288), ("dhen", 4_712_354, 2_092_358)])
def test_figures_on_criteo(name: str, flops: int, parameters: int) -> None:
    """Of NASRecNet's published 1.78 M parameters 1.74 M reach the logit; the others are not built."""
    network = InteractionArch(ARCHITECTURES[name](13, 26, 16))
    assert (dense_flops(network.architecture), sum(parameter.numel() for parameter in network.parameters())) == (flops, parameters)


def test_nasrecnet_is_the_published_network() -> None:
    """2.208 M multiply-adds; its tests against the published files are in tests/recsys_nas/test_nasrec_golden.py."""
    network = nasrec_small_criteo(13, 26, 16)
    assert dense_flops(network) == 2 * 2_207_808
    assert network.key() == load_architecture(GOLDEN / "nasrec_small_criteo.json").key()


def test_the_mlp_is_three_blocks_of_one_linear_module() -> None:
    blocks = tuple(Block(width, modules=(ModuleChoice("linear", dense=(number,)),)) for number, width in enumerate((7, 6, 5)))
    architecture = Architecture(2, 3, 4, blocks, (3,), normalisation="none", linear_skip=False)
    network, code = InteractionArch(architecture), Mlp(2, 3, 4, hidden=(7, 6, 5))
    randomise(network)
    with torch.no_grad():
        linears = [code.layers[0], code.layers[2], code.layers[4], code.head]
        blocks_of = [network.get_submodule(f"blocks.{number}.linear.layer") for number in (1, 2, 3)]
        for linear, layer in zip(linears, blocks_of, strict=False):
            linear.weight.copy_(layer.weight)  # type: ignore[operator,arg-type]
            linear.bias.copy_(layer.bias)  # type: ignore[operator,arg-type]
        code.head.weight.copy_(network.head)
        code.head.bias.copy_(network.bias)
    batch = inputs(architecture, 5, torch.float32)
    torch.testing.assert_close(network(*batch), code(*batch))
    assert dense_flops(architecture) == counted_flops(code, 2, 3, 4)
