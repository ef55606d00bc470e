"""What every module owes the rest: the catalogue tells the truth about it, its slices are the part they claim to be, and its FLOPs
are those that torch counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from recsys_nas.modules import LAYERS, Inputs, InteractionModule, Part, Shape, take
from recsys_nas.space import CATALOGUE
from tests.recsys_nas.random_networks import randomise

FULL = Shape(dense=7, tokens=6, dim=2, out=5, right=8)
NAMES = sorted(CATALOGUE)

# Of these the inner sizes follow the output width, so that a narrower output is another function and no part of the wider.
INNER_SIZES_FOLLOW_THE_OUTPUT = {"cin", "fmb", "mask_block", "low_rank_cross", "mixed_dot_product", "self_attention", "transformer"}
# Here zeros are not the same as nothing: a softmax runs over all tokens, a normalisation over all products.
ZEROS_COUNT = {"attention_pooling", "fmb"}


def inputs(shape: Shape, rows: int = 2) -> Inputs:
    generator = torch.Generator().manual_seed(5)
    sizes = (shape.dense,), (shape.tokens, shape.dim), (shape.right,)
    return Inputs(*(torch.randn(rows, *size, generator=generator, dtype=torch.float64) for size in sizes))


def part_of(given: Inputs, part: Part) -> Inputs:
    return Inputs(given.dense[:, part.dense], given.tokens[:, part.tokens], given.right[:, part.right])


def zero_outside(given: Inputs, part: Part) -> Inputs:
    def kept(x: Tensor, positions: Tensor) -> Tensor:
        return torch.zeros_like(x).index_copy(1, positions, x[:, positions])

    return Inputs(kept(given.dense, part.dense), kept(given.tokens, part.tokens), kept(given.right, part.right))


def whole(shape: Shape, out: int) -> Part:
    return Part(torch.arange(shape.dense), torch.arange(shape.tokens), torch.arange(shape.right), out)


def shape_of(part: Part, dim: int) -> Shape:
    return Shape(len(part.dense), len(part.tokens), dim, part.out, len(part.right))


def full_layer(name: str, shape: Shape = FULL) -> InteractionModule:
    layer = LAYERS[name](shape, shared=True).double()
    randomise(layer)
    return layer


def run_slice(name: str, layer: InteractionModule, part: Part, read: Inputs) -> Tensor:
    """The layer of the part's sizes on weights sliced from the full one, fed what the part reads."""
    smaller = LAYERS[name](shape_of(part, layer.shape.dim)).double()
    sliced = {parameter: take(layer.get_parameter(parameter), index) for parameter, index in layer.slices(part).items()}
    assert {k: v.shape for k, v in sliced.items()} == {k: v.shape for k, v in smaller.named_parameters()}
    output: Tensor = functional_call(smaller, sliced, (read,))
    return output


@st.composite
def shapes(draw: st.DrawFn, largest: int = 8) -> Shape:
    sizes = st.integers(0, largest)
    return Shape(draw(sizes), draw(sizes), draw(st.integers(1, largest)), draw(st.integers(1, largest)), draw(sizes))


@st.composite
def shapes_and_parts(draw: st.DrawFn) -> tuple[Shape, Part]:
    shape = draw(shapes())

    def positions(size: int) -> Tensor:
        kept = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        return torch.tensor([position for position in range(size) if kept[position]], dtype=torch.long)

    part = Part(positions(shape.dense), positions(shape.tokens), positions(shape.right), draw(st.integers(1, shape.out)))
    return shape, part


def part_at(dense: list[int], tokens: list[int], right: list[int], out: int) -> Part:
    return Part(torch.tensor(dense), torch.tensor(tokens), torch.tensor(right), out)


# Maps that only the full layer leaves out, and maps that only the part leaves out.
BARE_LAYER = Shape(4, 3, 2, 6, 6), part_at([1], [0, 1], [0, 5], 1)
BARE_PART = Shape(6, 5, 2, 7, 7), part_at([0, 4], [0, 2, 4], [1, 2, 3, 4, 5, 6], 6)
BARE_MERGER = Shape(6, 5, 2, 3, 7), part_at([0, 2, 3, 5], [1, 4], [2], 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_makes_the_stream_it_declares(name: str) -> None:
    output = LAYERS[name](FULL).double()(inputs(FULL))
    assert output.shape == ((2, FULL.out) if CATALOGUE[name].makes == "dense" else (2, FULL.out, FULL.dim))


@pytest.mark.parametrize("name", NAMES)
def test_a_module_reads_the_streams_it_declares_and_no_other(name: str) -> None:
    layer = full_layer(name)
    read = inputs(FULL)
    output = layer(read)
    changed = {
        "dense": read._replace(dense=-read.dense),
        "sparse": read._replace(tokens=-2 * read.tokens),
        "right": read._replace(right=-read.right),
    }
    assert tuple(stream for stream, other in changed.items() if not torch.equal(layer(other), output)) == CATALOGUE[name].reads


@pytest.mark.parametrize("name", NAMES)
@given(sizes=shapes_and_parts())
@example(sizes=BARE_LAYER)
@example(sizes=BARE_PART)
@example(sizes=BARE_MERGER)
@settings(max_examples=25)
def test_any_part_of_any_layer_is_a_layer_of_its_sizes(name: str, sizes: tuple[Shape, Part]) -> None:
    shape, part = sizes
    layer = full_layer(name, shape)
    output = run_slice(name, layer, part, part_of(inputs(shape), part))
    assert output.isfinite().all()
    assert output.shape[:2] == (2, part.out)


@pytest.mark.parametrize("name", NAMES)
@given(shape=shapes())
@settings(max_examples=10)
def test_a_shared_layer_runs_as_one_of_its_sizes(name: str, shape: Shape) -> None:
    layer = full_layer(name, shape)
    torch.testing.assert_close(run_slice(name, layer, whole(shape, shape.out), inputs(shape)), layer(inputs(shape)), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(set(NAMES) - ZEROS_COUNT))
def test_inputs_outside_the_part_count_as_zeros(name: str) -> None:
    layer = full_layer(name)
    part = Part(dense=torch.tensor([0, 3, 4]), tokens=torch.tensor([1, 2, 4, 5]), right=torch.tensor([0, 3, 4]), out=FULL.out)
    read = zero_outside(inputs(FULL), part)
    torch.testing.assert_close(run_slice(name, layer, part, part_of(read, part)), layer(read), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(NAMES) - INNER_SIZES_FOLLOW_THE_OUTPUT))
def test_a_narrower_output_is_the_first_part_of_the_full_one(name: str) -> None:
    layer = full_layer(name)
    read = inputs(FULL)
    torch.testing.assert_close(run_slice(name, layer, whole(FULL, 3), read), layer(read)[:, :3], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_may_read_nothing_but_one_of_its_streams(name: str) -> None:
    for shape in (Shape(0, 3, 2, 4), Shape(3, 0, 2, 4), Shape(0, 0, 2, 4, right=3), Shape(0, 0, 2, 4)):
        output = LAYERS[name](shape).double()(inputs(shape))
        assert output.isfinite().all()
        assert output.shape[:2] == (2, 4)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_of_zeros_have_outputs_and_gradients(name: str) -> None:
    layer = LAYERS[name](FULL).double()
    read = Inputs(*(torch.zeros_like(x, requires_grad=True) for x in inputs(FULL)))
    output = layer(read)
    assert output.isfinite().all()
    gradients = torch.autograd.grad(output.sum(), [*read, *layer.parameters()], allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", NAMES)
@given(shape=shapes(largest=20))
@example(shape=Shape(45, 34, 16, 48, 32))
@settings(max_examples=15)
def test_flops_are_those_that_torch_counts(name: str, shape: Shape) -> None:
    layer = LAYERS[name](shape).double()
    for rows in (1, 3):
        with FlopCounterMode(display=False) as counter:
            layer(inputs(shape, rows))
        assert LAYERS[name].flops(shape) * rows == counter.get_total_flops()


@pytest.mark.parametrize("name", NAMES)
def test_flops_of_relaxed_sizes_have_gradients_and_equal_those_of_whole_ones(name: str) -> None:
    read: dict[str, Any] = {"dense": torch.tensor(12.0), "tokens": torch.tensor(9.0), "right": torch.tensor(5.0)}
    for size in read.values():
        size.requires_grad_()
    whole_sizes, relaxed = Shape(12, 9, 8, 10, 5), Shape(dim=8, out=10, **read)
    flops = torch.as_tensor(LAYERS[name].flops(relaxed), dtype=torch.float32)
    assert flops.item() == LAYERS[name].flops(whole_sizes)
    if not flops.requires_grad:
        assert LAYERS[name].flops(replace(whole_sizes, dense=13, tokens=10, right=6)) == flops
        return
    flops.backward()
    for stream, size in read.items():
        step = 0.25
        above, below = (LAYERS[name].flops(replace(whole_sizes, **dict[str, Any]({stream: size.item() + sign * step}))) for sign in (1, -1))
        assert (size.grad if size.grad is not None else 0) == pytest.approx((above - below) / (2 * step))
