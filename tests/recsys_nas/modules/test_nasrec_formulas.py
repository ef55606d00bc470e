"""The modules of NASRec's space against its formulas, written out the long way: loops, hand-made numbers, PyTorch's own attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recsys_nas.modules import InteractionModule, Part, Shape, take
from recsys_nas.modules.attention import Transformer
from recsys_nas.modules.dense_pair import SigmoidGating, Sum
from recsys_nas.modules.dot_product import MixedDotProduct
from recsys_nas.modules.mergers import DenseToTokens, TokensToDense
from tests.recsys_nas.modules.layers import close, filled, given, num_parameters, random_inputs, randomised, sizes_of


def test_mixed_dot_product_by_hand() -> None:
    layer = MixedDotProduct(Shape(1, 3, 2, 2))
    filled(layer, to_token=[1, 2], to_token_bias=[0, 1], mix=[[1, 1, 0], [0, 0, 2]], mix_bias=[0, 0.5], output=[[1, 10, 100], [0, 0, 1]])
    # k = round(sqrt(4)) = 2 mixed tokens, (1, 1) + (2, -1) = (3, 0) and 2 * (-1, 2) + .5 = (-1.5, 4.5); dense token of 3: (3, 7).
    # Products: mixed 0 with dense 9; mixed 1 with dense -4.5 + 31.5 = 27; mixed 1 with mixed 0 -4.5.
    output = layer(given([3], [[1, 1], [2, -1], [-1, 2]], dim=2))
    assert output.tolist() == [[9 + 270 - 450, -4.5]]


def test_mixed_dot_product_is_all_pairs_of_mixed_tokens_row_by_row() -> None:
    shape = Shape(5, 7, 3, 12)
    layer, inputs = randomised(MixedDotProduct(shape)), random_inputs(shape)
    assert sizes_of(layer) == {
        "to_token": (3, 5), "to_token_bias": (3,), "mix": (5, 7), "mix_bias": (5,), "output": (12, 15), "output_bias": (12,)
    }  # fmt: skip
    parameter = layer.get_parameter
    nodes = [inputs.dense @ parameter("to_token").T + parameter("to_token_bias")]
    for new in range(5):
        mixed = sum(parameter("mix")[new, old] * inputs.tokens[:, old] for old in range(7))
        nodes.append(mixed + parameter("mix_bias")[new])
    pairs = torch.stack([(nodes[i] * nodes[j]).sum(1) for i in range(6) for j in range(i)], dim=1)
    close(layer(inputs), pairs @ parameter("output").T + parameter("output_bias"))


@pytest.mark.parametrize(
    ("width", "mixed"), [(1, 1), (16, 6), (32, 8), (64, 11), (128, 16), (256, 23), (512, 32), (768, 39), (1024, 45)]
)  # fmt: skip
def test_mixed_dot_product_mixes_to_the_root_of_twice_the_width(width: int, mixed: int) -> None:
    assert sizes_of(MixedDotProduct(Shape(1, 50, 2, width)))["mix"] == (mixed, 50)


def test_mixed_dot_product_leaves_out_what_has_its_size() -> None:
    # Dense as wide as a token, as many tokens as k = 3, as many products as features: only the products are left.
    layer = MixedDotProduct(Shape(2, 3, 2, 6))
    assert sizes_of(layer) == {}
    output = layer(given([1, 2], [[3, 0], [0, 1], [1, 1]], dim=2))
    assert output.tolist() == [[3, 2, 0, 3, 3, 1]]
    assert MixedDotProduct.flops(Shape(2, 3, 2, 6)) == 2 * 4 * 4 * 2


def test_a_shared_layer_holds_the_maps_that_it_leaves_out_itself() -> None:
    names = ["to_token", "to_token_bias", "mix", "mix_bias", "output", "output_bias"]
    # One that needs no map of its own, for a part that needs all; and the other way round.
    bare = MixedDotProduct(Shape(2, 3, 2, 6), shared=True)
    assert list(bare.slices(Part(torch.tensor([1]), torch.tensor([0, 1, 2]), torch.arange(0), 2))) == names
    assert list(sizes_of(bare)) == names
    close(randomised(bare)(given([1, 2], [[3, 0], [0, 1], [1, 1]], dim=2)), torch.tensor([[3, 2, 0, 3, 3, 1.0]]).double())
    needy = MixedDotProduct(Shape(4, 5, 2, 6), shared=True)
    assert needy.slices(Part(torch.tensor([0, 3]), torch.tensor([0, 2, 4]), torch.arange(0), 6)) == {}


def test_sigmoid_gating_by_hand() -> None:
    layer = filled(
        SigmoidGating(Shape(2, 0, 1, 1, 2)), gate=[[0, 0], [1, -1]], gate_bias=[0, math.log(3)], output=[10, 100], output_bias=[0.5]
    )
    # Gates: sigmoid(0) = 1/2 and sigmoid(2 - 2 + ln 3) = 3/4; times 6 and 8: 3 and 6.
    assert layer(given([2, 2], right=[6, 8])).tolist() == [[pytest.approx(630.5)]]


@pytest.mark.parametrize(("dense", "right"), [(2, 4), (4, 2), (3, 3)])
def test_sigmoid_gating_pads_the_narrower_side_with_zeros(dense: int, right: int) -> None:
    shape = Shape(dense, 0, 1, 5, right)
    layer, inputs = randomised(SigmoidGating(shape)), random_inputs(shape)
    padded = max(dense, right)
    assert sizes_of(layer) == {"gate": (padded, padded), "gate_bias": (padded,), "output": (5, padded), "output_bias": (5,)}
    parameter = layer.get_parameter
    expected = parameter("output_bias").expand(2, 5).clone()
    for feature in range(right):
        logit = sum(parameter("gate")[feature, other] * inputs.dense[:, other] for other in range(dense)) + parameter("gate_bias")[feature]
        expected = expected + (logit.sigmoid() * inputs.right[:, feature]).unsqueeze(1) * parameter("output")[:, feature]
    close(layer(inputs), expected)


def test_sum_by_hand() -> None:
    layer = filled(Sum(Shape(3, 0, 1, 2, 2)), output=[[1, 10, 100], [0, 0, 1]], output_bias=[0.5, 0])
    # (1 + 4, 2 + 5, 3 + 0)
    assert layer(given([1, 2, 3], right=[4, 5])).tolist() == [[375.5, 3.0]]
    assert Sum(Shape(3, 0, 1, 3, 2)).double()(given([1, 2, 3], right=[4, 5])).tolist() == [[5, 7, 3]]


def test_a_slice_of_a_gating_keeps_the_weights_of_every_feature() -> None:
    layer = randomised(SigmoidGating(Shape(4, 0, 1, 3, 5), shared=True))
    part = Part(torch.tensor([1, 3]), torch.arange(0), torch.tensor([0, 2, 4]), 2)
    sliced = {name: take(layer.get_parameter(name), index) for name, index in layer.slices(part).items()}
    for row, feature in enumerate((0, 2, 4)):
        assert [sliced["gate"][row, column].item() for column in (0, 1)] == layer.gate[feature, [1, 3]].tolist()
        assert sliced["gate_bias"][row] == layer.gate_bias[feature]
    # Its two dimensions are equal to those of the full layer where all features of the wider side are read.
    whole = Part(torch.tensor([2]), torch.arange(0), torch.arange(5), 3)
    assert torch.equal(take(layer.gate, layer.slices(whole)["gate"])[:, 0], layer.gate[:, 2])


def test_a_slice_of_a_sum_keeps_the_weights_of_the_wider_side() -> None:
    layer = randomised(Sum(Shape(4, 0, 1, 3, 5), shared=True))
    for dense, right, kept in (([1, 3], [0, 2, 4], [0, 2, 4]), ([0, 1, 3], [4], [0, 1, 3]), ([0, 2], [1, 3], [0, 2])):
        part = Part(torch.tensor(dense), torch.arange(0), torch.tensor(right), 1)
        assert layer.output is not None
        assert torch.equal(take(layer.output, layer.slices(part)["output"]), layer.output[:1, kept])


@pytest.mark.parametrize(("dim", "heads"), [(16, 8), (8, 8), (12, 4), (6, 2), (5, 1)])
def test_transformer_is_pytorchs_attention_with_norms_and_two_layers(dim: int, heads: int) -> None:
    shape = Shape(0, 6, dim, 4)
    layer, inputs = randomised(Transformer(shape)), random_inputs(shape)
    reference = nn.MultiheadAttention(dim, heads, batch_first=True).double()
    parameter = layer.get_parameter
    names = {"in_proj_weight": "query_key_value", "in_proj_bias": "query_key_value_bias"}
    names |= {"out_proj.weight": "output", "out_proj.bias": "output_bias"}
    reference.load_state_dict({theirs: parameter(ours) for theirs, ours in names.items()})
    mixed = torch.einsum("tn,bnd->btd", parameter("mix"), inputs.tokens) + parameter("mix_bias").view(1, -1, 1)
    attended = reference(mixed, mixed, mixed, need_weights=False)[0] + mixed
    x = F.layer_norm(attended, (dim,)) * parameter("attention_scale") + parameter("attention_shift")
    layers = F.relu(x @ parameter("first").T + parameter("first_bias")) @ parameter("second").T + parameter("second_bias")
    expected = F.layer_norm(x + layers, (dim,)) * parameter("layers_scale") + parameter("layers_shift")
    torch.testing.assert_close(layer(inputs), expected, rtol=1e-10, atol=1e-10)


def test_transformer_by_hand() -> None:
    layer = filled(Transformer(Shape(0, 2, 2, 1)), mix=[1, 2], mix_bias=[0], query_key_value=[[0] * 2] * 6)
    filled(layer, attention_shift=[1, 1], first=[[0] * 2] * 2, first_bias=[1, -1], second=[[3, 3]] * 2, second_bias=[0, 2], output=[0] * 4)
    # Mixed (1, 3) + 2 (2, 1) = (5, 5): nothing is left by the norm, and the shift makes (1, 1). The layers add 3 relu(1) = 3 and 3 + 2.
    # The norm of (4, 6) is (-1, 1) and its scale begins at .17.
    assert layer(given(tokens=[[1, 3], [2, 1]], dim=2)).flatten().tolist() == pytest.approx([-0.17, 0.17], rel=1e-4)


def test_tokens_to_dense_by_hand() -> None:
    tokens = given(tokens=[[1, 2], [3, -1], [0.5, 4]], dim=2)
    # Twice the sums over pairs of test_fm_by_hand, 5 and 2.
    assert TokensToDense(Shape(0, 3, 2, 2)).double()(tokens).tolist() == [[10, 4]]
    layer = filled(TokensToDense(Shape(0, 3, 2, 1)), output=[1, 100], output_bias=[0.5])
    assert layer(tokens).tolist() == [[410.5]]


def test_dense_to_tokens_by_hand() -> None:
    assert DenseToTokens(Shape(4, 0, 2, 2)).double()(given([1, 2, 3, 4], dim=2)).tolist() == [[[1, 2], [3, 4]]]
    layer = filled(DenseToTokens(Shape(1, 0, 2, 2)), output=[1, 2, 3, 4], output_bias=[0.5, 0, 0, 0])
    assert layer(given([10], dim=2)).tolist() == [[[10.5, 20], [30, 40]]]


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        # By hand, at NASRec's sizes: E = 16, 26 tokens.
        (MixedDotProduct(Shape(13, 26, 16, 128)), 16 * 13 + 16 + 16 * 26 + 16 + 128 * 136 + 128),
        (MixedDotProduct(Shape(16, 16, 16, 128)), 128 * 136 + 128),
        (SigmoidGating(Shape(13, 0, 16, 64, 32)), 32 * 32 + 32 + 64 * 32 + 64),
        (SigmoidGating(Shape(13, 0, 16, 32, 32)), 32 * 32 + 32),
        (Sum(Shape(13, 0, 16, 64, 32)), 64 * 32 + 64),
        (Transformer(Shape(0, 26, 16, 32)), 32 * 26 + 32 + 6 * (16 * 16 + 16) + 4 * 16),
        (TokensToDense(Shape(0, 26, 16, 64)), 64 * 16 + 64),
        (DenseToTokens(Shape(256, 0, 16, 8)), 128 * 256 + 128),
        (DenseToTokens(Shape(128, 0, 16, 8)), 0),
    ],
)
def test_parameters_are_those_of_nasrec(layer: InteractionModule, parameters: int) -> None:
    assert num_parameters(layer) == parameters
