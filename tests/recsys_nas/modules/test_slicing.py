"""What every module owes the rest: the catalogue tells the truth about it, and its slices are the part they claim to be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from recsys_nas.modules import LAYERS, Inputs, Part, Shape, take
from recsys_nas.space import CATALOGUE
from tests.recsys_nas.random_networks import randomise

FULL = Shape(dense=6, tokens=5, dim=3, out=4)
NAMES = sorted(CATALOGUE)


def given(dense: Tensor, tokens: Tensor) -> Inputs:
    return Inputs(dense, tokens, dense[:, :0])


def streams(shape: Shape) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    dense = torch.randn(2, shape.dense, generator=generator, dtype=torch.float64)
    return dense, torch.randn(2, shape.tokens, shape.dim, generator=generator, dtype=torch.float64)


def run_slice(name: str, part: Part, dense: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of the full layer on these inputs, and of its part on the inputs that the part reads."""
    layer = LAYERS[name](FULL).double()
    randomise(layer)
    sliced = {parameter: take(layer.get_parameter(parameter), index) for parameter, index in layer.slices(part).items()}
    smaller = LAYERS[name](Shape(len(part.dense), len(part.tokens), FULL.dim, part.out)).double()
    assert {k: v.shape for k, v in sliced.items()} == {k: v.shape for k, v in smaller.named_parameters()}
    output: Tensor = functional_call(smaller, sliced, (given(dense[:, part.dense], tokens[:, part.tokens]),))
    return layer(given(dense, tokens)), output


def test_every_module_of_the_catalogue_has_a_layer() -> None:
    assert list(LAYERS) == list(CATALOGUE)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_makes_the_stream_it_declares(name: str) -> None:
    output = LAYERS[name](FULL).double()(given(*streams(FULL)))
    assert output.shape == ((2, FULL.out) if CATALOGUE[name].makes == "dense" else (2, FULL.out, FULL.dim))


@pytest.mark.parametrize("name", NAMES)
def test_a_module_reads_the_streams_it_declares_and_no_other(name: str) -> None:
    layer = LAYERS[name](FULL).double()
    randomise(layer)
    dense, tokens = streams(FULL)
    output = layer(given(dense, tokens))
    heard = {
        "dense": not torch.equal(layer(given(dense + 1, tokens)), output),
        "sparse": not torch.equal(layer(given(dense, tokens + 1)), output),
    }
    assert tuple(stream for stream, differs in heard.items() if differs) == CATALOGUE[name].reads


@pytest.mark.parametrize("name", NAMES)
def test_inputs_outside_the_part_count_as_zeros(name: str) -> None:
    part = Part(dense=torch.tensor([0, 3, 4]), tokens=torch.tensor([1, 2, 4]), right=torch.arange(0), out=FULL.out)
    dense, tokens = streams(FULL)
    dense[:, [1, 2, 5]] = 0
    tokens[:, [0, 3]] = 0
    full, sliced = run_slice(name, part, dense, tokens)
    torch.testing.assert_close(sliced, full, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "self_attention"])
def test_a_narrower_output_is_the_first_part_of_the_full_one(name: str) -> None:
    part = Part(dense=torch.arange(FULL.dense), tokens=torch.arange(FULL.tokens), right=torch.arange(0), out=2)
    full, sliced = run_slice(name, part, *streams(FULL))
    torch.testing.assert_close(sliced, full[:, :2], rtol=1e-12, atol=1e-12)


def test_narrower_attention_is_attention_between_the_first_mixed_tokens() -> None:
    part = Part(dense=torch.arange(FULL.dense), tokens=torch.arange(FULL.tokens), right=torch.arange(0), out=2)
    layer = LAYERS["self_attention"](FULL).double()
    randomise(layer)
    sliced = {name: take(layer.get_parameter(name), index) for name, index in layer.slices(part).items()}
    assert torch.equal(sliced["mix"], layer.get_parameter("mix")[:2])
    assert all(torch.equal(sliced[name], layer.get_parameter(name)) for name in ("query", "key", "value", "output"))


@pytest.mark.parametrize("name", NAMES)
def test_a_module_may_read_nothing_but_one_of_its_streams(name: str) -> None:
    for shape in (Shape(0, 3, 2, 4), Shape(3, 0, 2, 4)):
        output = LAYERS[name](shape).double()(given(*streams(shape)))
        assert output.isfinite().all()
        assert output.shape[:2] == (2, 4)
