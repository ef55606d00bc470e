"""The promise of weight sharing: a member run on slices of the supernet is the network that one takes out of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from recsys_nas.cost import dense_flops, module_costs
from recsys_nas.model import InteractionArch
from recsys_nas.space import CATALOGUE, Architecture, Block, Gate
from recsys_nas.supernet import Supernet
from tests.recsys_nas.random_networks import assert_equal_to_rounding, hulls_and_members, hulls_and_thinned, inputs, randomise

Pair = tuple[Architecture, Architecture]
HULL = Architecture(
    2,
    3,
    4,
    (
        Block.reading((0,), ("linear", "cross"), 5, ("embedded_fc",), 3),
        Block.reading((0, 1), ("fm", "dot_product"), 6, ("self_attention",), 2),
    ),
    (1, 2),
)


def supernet_of(hull: Architecture, dtype: torch.dtype = torch.float64) -> Supernet:
    supernet = Supernet(hull).to(dtype)
    randomise(supernet)
    return supernet


def slices_in_use(supernet: Supernet, member: Architecture) -> dict[str, Tensor]:
    """For each full-size parameter, 1 where the member uses it and 0 elsewhere."""
    probe = copy.deepcopy(supernet)
    total = sum(value.sum() for value in probe.sliced_parameters(member).values())
    assert isinstance(total, Tensor)
    total.backward()
    return {name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in probe.named_parameters()}


@settings(max_examples=80, deadline=None)
@given(pair=hulls_and_members())
def test_a_member_equals_its_extracted_network_in_float64(pair: Pair) -> None:
    hull, member = pair
    supernet = supernet_of(hull)
    batch = inputs(hull)
    logits = supernet(*batch, member)
    assert logits.shape == (3,)
    assert_equal_to_rounding(logits, supernet.extract(member)(*batch))


@settings(max_examples=50, deadline=None)
@given(pair=hulls_and_members())
def test_a_member_equals_its_extracted_network_in_float32(pair: Pair) -> None:
    hull, member = pair
    supernet = supernet_of(hull, torch.float32)
    batch = inputs(hull, dtype=torch.float32)
    torch.testing.assert_close(supernet(*batch, member), supernet.extract(member)(*batch), rtol=1e-5, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(pair=hulls_and_members())
def test_gradients_equal_those_of_the_extracted_network_and_are_zero_outside_the_slice(pair: Pair) -> None:
    hull, member = pair
    supernet = supernet_of(hull)
    derived = supernet.extract(member)
    dense, tokens = (value.requires_grad_() for value in inputs(hull))
    derived_dense, derived_tokens = (value.requires_grad_() for value in inputs(hull))
    supernet(dense, tokens, member).square().sum().backward()
    derived(derived_dense, derived_tokens).square().sum().backward()
    # A supernet whose weights are the gradients: cut in the same way, they must be the gradients of the extracted network.
    gradients = copy.deepcopy(supernet)
    for held, parameter in zip(gradients.parameters(), supernet.parameters(), strict=True):
        held.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    sliced = gradients.sliced_parameters(member)
    for name, parameter in derived.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert_equal_to_rounding(sliced[name], expected)
    used = slices_in_use(supernet, member)
    for name, parameter in supernet.named_parameters():
        assert not (used[name] > 1).any(), f"{name}: a weight is used twice"
        if parameter.grad is not None:
            assert not parameter.grad[used[name] == 0].any(), f"{name}: gradient outside the slice"
    for mine, theirs in ((dense, derived_dense), (tokens, derived_tokens)):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None and theirs.grad is not None:
            assert_equal_to_rounding(mine.grad, theirs.grad)


@pytest.mark.parametrize("normalisation", ["rms", "layer", "batch", "none"])
@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_module_alone_narrowed_equals_its_extracted_network(name: str, normalisation: Any) -> None:
    def alone(width: int, sources: tuple[int, ...] = (0, 1)) -> Block:
        if CATALOGUE[name].makes == "dense":
            return Block.reading(sources, dense=(name,), dense_width=width)
        return Block.reading(sources, sparse=(name,), num_tokens=width)

    first = Block.reading((0,), ("linear",), 5, ("embedded_fc",), 4)
    narrow_first = replace(first, dense_width=2, num_tokens=3)
    hull = Architecture(3, 4, 4, (first, alone(7)), (1, 2), normalisation=normalisation)
    supernet, batch = supernet_of(hull), inputs(hull)
    outputs: list[Tensor] = []
    for blocks in ((first, alone(7)), (first, alone(3)), (narrow_first, alone(3)), (first, alone(3, sources=(1,)))):
        member = replace(hull, blocks=blocks)
        logits = supernet(*batch, member)
        assert_equal_to_rounding(logits, supernet.extract(member)(*batch))
        assert not any(torch.allclose(logits, other) for other in outputs), "narrowing changed nothing"
        outputs.append(logits)


@settings(max_examples=50, deadline=None)
@given(pair=hulls_and_members())
def test_the_canonical_network_with_renamed_weights_gives_the_same_logits(pair: Pair) -> None:
    hull, member = pair
    derived = supernet_of(hull).extract(member)
    canonical = member.canonical()
    renamed = InteractionArch(canonical).double()
    numbers = {str(old): str(new) for new, old in enumerate(member.reachable_blocks(), start=1)}

    def rename(name: str) -> str:
        kind, *rest = name.split(".")
        return ".".join([kind, numbers[rest[0]], *rest[1:]]) if kind == "blocks" else name

    renamed.load_state_dict({rename(name): value for name, value in derived.state_dict().items()})
    batch = inputs(hull)
    assert torch.equal(renamed(*batch), derived(*batch))


@settings(max_examples=50, deadline=None)
@given(pair=hulls_and_thinned())
def test_shut_gates_are_another_road_to_the_network_that_slices_give(pair: Pair) -> None:
    """Gates use no slices at all, so this holds every slice to the place in the supernet that it stands for."""
    hull, member = pair
    supernet = supernet_of(hull)
    gates = {
        Gate(number, name): torch.full(
            (3,), float(name in {module.name for module in member.blocks[number - 1].modules}), dtype=torch.float64
        )
        for number, block in enumerate(hull.blocks, start=1)
        for name in (module.name for module in block.modules)
    }
    batch = inputs(hull)
    torch.testing.assert_close(supernet.full(*batch, gates), supernet(*batch, member), rtol=1e-9, atol=1e-9)


def test_a_member_uses_the_weights_written_down_here() -> None:
    """Sources are joined in the order of the blocks, whatever the order in the file; of a stream, the first features are used."""
    first = Block.reading((0,), ("linear",), 4, ("embedded_fc",), 3)
    second, third = (
        Block.reading((1, 0), ("linear", "cross"), 3, ("embedded_fc",), 2),
        Block.reading((2, 1, 0), ("linear",), 3, ("embedded_fc",), 2),
    )
    hull = Architecture(1, 2, 2, (first, second, third), (2, 0, 1, 3))
    narrow = (
        replace(first, dense_width=2, num_tokens=1),
        Block.reading((0, 1), ("cross",), 2, ("embedded_fc",), 1),
        Block.reading((1, 2), ("linear",), 1, ("embedded_fc",), 1),
    )
    member = replace(hull, blocks=narrow, head=(1, 2, 3))
    # Dense inputs in the hull: 0-4 the stem (1 + 2 * 2), 5-8 block 1, 9-11 block 2; tokens: 0-1 the stem, 2-4 block 1, 5-6 block 2.
    dense, tokens = [0, 1, 2, 3, 4, 5, 6], [0, 1, 2]
    third_dense, third_tokens = [5, 6, 9, 10], [2, 5]
    # Inputs of the head in the hull: 0-4 and 5-8 the stem, 9-12 and 13-18 block 1, 19-21 and 22-25 block 2, 26-28 and 29-32 block 3.
    head = [9, 10, 13, 14, 19, 20, 22, 23, 26, 29, 30]
    full = dict(supernet_of(hull).full.named_parameters())
    expected = {
        "blocks.1.linear.layer.weight": full["blocks.1.linear.layer.weight"][:2],
        "blocks.1.linear.layer.bias": full["blocks.1.linear.layer.bias"][:2],
        "blocks.1.embedded_fc.layer.weight": full["blocks.1.embedded_fc.layer.weight"][:1],
        "blocks.1.embedded_fc.layer.bias": full["blocks.1.embedded_fc.layer.bias"][:1],
        "blocks.2.cross.layer.cross": full["blocks.2.cross.layer.cross"][dense][:, dense],
        "blocks.2.cross.layer.cross_bias": full["blocks.2.cross.layer.cross_bias"][dense],
        "blocks.2.cross.layer.weight": full["blocks.2.cross.layer.weight"][:2, dense],
        "blocks.2.cross.layer.bias": full["blocks.2.cross.layer.bias"][:2],
        "blocks.2.embedded_fc.layer.weight": full["blocks.2.embedded_fc.layer.weight"][:1, tokens],
        "blocks.2.embedded_fc.layer.bias": full["blocks.2.embedded_fc.layer.bias"][:1],
        "blocks.3.linear.layer.weight": full["blocks.3.linear.layer.weight"][:1, third_dense],
        "blocks.3.linear.layer.bias": full["blocks.3.linear.layer.bias"][:1],
        "blocks.3.embedded_fc.layer.weight": full["blocks.3.embedded_fc.layer.weight"][:1, third_tokens],
        "blocks.3.embedded_fc.layer.bias": full["blocks.3.embedded_fc.layer.bias"][:1],
        "head": full["head"][:, head],
        "skip": full["skip"],
        "bias": full["bias"],
    }
    sliced = supernet_of(hull).sliced_parameters(member)
    assert sorted(sliced) == sorted(expected)
    for name, value in expected.items():
        assert torch.equal(sliced[name], value), name


@settings(max_examples=30, deadline=None)
@given(pair=hulls_and_members())
def test_running_extracting_and_pricing_change_nothing(pair: Pair) -> None:
    hull, member = pair
    supernet = supernet_of(hull)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    random_state = torch.get_rng_state()
    supernet(*inputs(hull), member)
    derived = supernet.extract(member)
    dense_flops(member)
    module_costs(member)
    with torch.no_grad():
        for parameter in derived.parameters():
            parameter.add_(1.0)
    after = supernet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), random_state), "extracting drew from the global generator"


def test_an_extracted_network_trains_by_itself_and_holds_only_what_it_uses() -> None:
    member = replace(HULL, blocks=(Block.reading((0,), ("linear",), 2), Block.reading((0, 1), ("fm",), 3)))
    derived = supernet_of(HULL).extract(member)
    expected = {"linear": 2 * (2 + 3 * 4) + 2, "fm": 3 * 4 + 3, "head": 2 + 3, "skip": 2 + 3 * 4, "bias": 1}
    assert sum(parameter.numel() for parameter in derived.parameters()) == sum(expected.values())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in derived.parameters())


FIRST, SECOND = HULL.blocks
BEYOND = {
    "num_dense": replace(HULL, num_dense=3),
    "num_sparse": replace(HULL, num_sparse=2),
    "embedding_dim": replace(HULL, embedding_dim=8),
    "stem": replace(HULL, stem="split"),
    "normalisation": replace(HULL, normalisation="none"),
    "linear_skip": replace(HULL, linear_skip=False),
    "blocks: 1": replace(HULL, blocks=(FIRST,), head=(1,)),
    "head": replace(HULL, head=(0, 1)),
    r"blocks\[1\]: its sources": replace(HULL, blocks=(FIRST, replace(SECOND, dense_width=7))),
    r"blocks\[0\]: its sources": replace(HULL, blocks=(replace(FIRST, num_tokens=4), SECOND)),
    r"blocks\[1\]: .*modules": replace(HULL, blocks=(FIRST, Block.reading((0, 1), ("linear",), 6))),
    r"blocks\[0\]: .*beyond": replace(HULL, blocks=(Block.reading((0,), (), 0, ("self_attention",), 3), SECOND)),
}


@pytest.mark.parametrize("message", BEYOND)
def test_a_network_beyond_the_supernet_is_refused(message: str) -> None:
    supernet = supernet_of(HULL)
    with pytest.raises(ValueError, match=message):
        supernet(*inputs(HULL), BEYOND[message])
    with pytest.raises(ValueError, match=message):
        supernet.extract(BEYOND[message])


def test_a_source_beyond_the_supernet_is_refused() -> None:
    hull = replace(HULL, blocks=(FIRST, Block.reading((1,), ("fm", "dot_product"), 6, ("self_attention",), 2)))
    with pytest.raises(ValueError, match=r"blocks\[1\]: its sources"):
        supernet_of(hull)(*inputs(HULL), HULL)
