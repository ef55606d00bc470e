"""Modules of DCNv2, xDeepFM, WuKong, Set Transformer and FinalMLP against their formulas, written out the long way."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recsys_nas.modules import InteractionModule, Part, Shape, take
from recsys_nas.modules.attention import PMA
from recsys_nas.modules.bilinear_fusion import BilinearFusion, LowRankFusion
from recsys_nas.modules.cin import CompressedInteraction
from recsys_nas.modules.cross import Cross, CrossNetwork, LowRankCross
from recsys_nas.modules.field_gate import FieldGate
from recsys_nas.modules.linear import TokenLinear
from recsys_nas.modules.mask_block import MaskBlock
from recsys_nas.modules.wukong import FactorizationMachineBlock, LinearCompression
from tests.recsys_nas.modules.layers import close, filled, given, num_parameters, random_inputs, randomised, sizes_of


def test_cross_network_by_hand() -> None:
    pairs, triples = [[1, 2], [0, -1]], [[0, 1], [1, 0]]
    layer = CrossNetwork(Shape(2, 0, 1, 1))
    filled(layer, first=pairs, first_bias=[1, 0.5], second=triples, second_bias=[0, 2], weight=[1, 10], bias=[0.25])
    # x = (3, 2). x A' + a = (8, -1.5), x1 = x * that + x = (27, -1). x1 C' + c = (-1, 29), x * that + x1 = (24, 57); 24 + 570 + .25
    assert layer(given([3, 2])).tolist() == [[594.25]]


def test_low_rank_cross_by_hand() -> None:
    layer = filled(LowRankCross(Shape(2, 0, 1, 1)), down=[1, 2], up=[3, -1], up_bias=[1, 0.5], weight=[1, 10], bias=[0.25])
    # x = (3, 2): x V = 7; times U, plus b = (22, -6.5); x * that + x = (69, -11); 69 - 110 + .25
    assert layer(given([3, 2])).tolist() == [[-40.75]]


def test_low_rank_cross_is_a_cross_whose_matrix_has_that_rank() -> None:
    shape = Shape(7, 0, 1, 9)
    layer, inputs = randomised(LowRankCross(shape)), random_inputs(shape)
    assert sizes_of(layer)["down"] == (3, 7)
    full = Cross(shape).double()
    parameter = layer.get_parameter
    full.load_state_dict(
        {"cross": parameter("up") @ parameter("down"), "cross_bias": layer.up_bias, "weight": layer.weight, "bias": layer.bias}
    )
    close(layer(inputs), full(inputs))


def test_cin_by_hand() -> None:
    layer = filled(CompressedInteraction(Shape(0, 2, 2, 2)), first=[[1, 2, 0, -1]], second=[[10, 1]])
    # Per dimension: x = (1, 2) and (3, -1). X1 = x0 x0 + 2 x0 x1 - x1 x1 = (1 + 6 - 9, 4 - 4 - 1) = (-2, -1), summed -3.
    # X2 = 10 X1 x0 + X1 x1 = (-20 - 6, -20 + 1), summed -45.
    assert layer(given(tokens=[[1, 2], [3, -1]], dim=2)).tolist() == [[-3, -45]]


@pytest.mark.parametrize("width", [1, 4, 5])
def test_cin_is_two_layers_of_feature_maps_summed(width: int) -> None:
    shape = Shape(0, 4, 3, width)
    layer, inputs = randomised(CompressedInteraction(shape)), random_inputs(shape)
    tokens, first, second = inputs.tokens.unbind(1), layer.first.view(-1, 4, 4), layer.second.view(width // 2, width - width // 2, 4)
    maps = [sum(w[i, j] * tokens[i] * tokens[j] for i, j in itertools.product(range(4), repeat=2)) for w in first]
    more = [sum(w[i, j] * maps[i] * tokens[j] for i, j in itertools.product(range(len(maps)), range(4))) for w in second]
    close(layer(inputs), torch.stack([torch.as_tensor(x).sum(1) for x in (*maps, *more)], dim=1))


def test_lcb_by_hand() -> None:
    layer = filled(LinearCompression(Shape(0, 3, 2, 2)), weight=[[1, 0, -1], [0, 2, 0.5]])
    assert layer(given(tokens=[[1, 2], [3, 4], [6, 8]], dim=2)).tolist() == [[[-5, -6], [9, 12]]]


def test_fmb_by_hand() -> None:
    layer = filled(
        FactorizationMachineBlock(Shape(0, 2, 1, 1)),
        projection=[1, 1], shift=[0, 1], hidden=[2, 1], hidden_bias=[0.5], output=[3], output_bias=[-1],
    )  # fmt: skip
    # X'Y = 1 + 3 = 4, X (X'Y) = (4, 12), normalised (-1, 1), shifted (-1, 2); relu(-2 + 2 + .5) = .5; 1.5 - 1
    assert layer(given(tokens=[[1], [3]])).flatten().tolist() == pytest.approx([0.5], rel=1e-5)


def test_fmb_is_the_mlp_of_normalised_products_with_summaries() -> None:
    shape = Shape(0, 4, 3, 5)
    layer, inputs = randomised(FactorizationMachineBlock(shape)), random_inputs(shape)
    assert sizes_of(layer)["projection"] == (4, 3)
    # Without the trick: all products between tokens first.
    products = (inputs.tokens @ inputs.tokens.transpose(1, 2)) @ layer.projection
    norm = nn.LayerNorm(12).double()
    norm.load_state_dict({"weight": layer.scale, "bias": layer.shift})
    hidden = F.relu(norm(products.flatten(1)) @ layer.hidden.T + layer.hidden_bias)
    expected = (hidden @ layer.output.T + layer.output_bias).view(2, 5, 3)
    torch.testing.assert_close(layer(inputs), expected, rtol=1e-10, atol=1e-10)


def test_a_slice_of_fmb_keeps_the_weights_of_its_products() -> None:
    layer = randomised(FactorizationMachineBlock(Shape(0, 4, 3, 5)))
    part = Part(torch.arange(0), torch.tensor([1, 3]), torch.arange(0), 3)
    sliced = {name: take(layer.get_parameter(name), index) for name, index in layer.slices(part).items()}
    # Products are counted token by token, three to a token in the full layer and two in the part.
    assert torch.equal(sliced["projection"], layer.projection[[1, 3], :2])
    assert torch.equal(sliced["scale"], layer.scale[[3, 4, 9, 10]])
    assert torch.equal(sliced["hidden"], layer.hidden[:9, [3, 4, 9, 10]])


def test_attention_pooling_by_hand() -> None:
    layer = filled(PMA(Shape(0, 2, 2, 2)), seeds=[0, 0], key=[[1, 0], [0, 1]], value=[[1, 0], [0, 1]], output=[[1, 0], [0, 1]])
    filled(layer, output_bias=[0, 2], attention_scale=[2, 4], key_bias=[5, 7])
    # A seed of zeros attends to both tokens alike: mean (2, 6), normalised (-1, 1), scaled (-2, 4). Plus relu(-2, 4 + 2): (-2, 10),
    # normalised (-1, 1).
    assert layer(given(tokens=[[1, 4], [3, 8]], dim=2)).flatten().tolist() == pytest.approx([-1, 1], rel=1e-4)


def test_attention_pooling_is_pytorchs_attention_of_seeds_with_norms() -> None:
    shape = Shape(0, 6, 4, 10)
    layer, inputs = randomised(PMA(shape)), random_inputs(shape)
    assert sizes_of(layer)["seeds"] == (3, 4)
    reference = nn.MultiheadAttention(4, 1, batch_first=True).double()
    identity = torch.eye(4, dtype=torch.float64)
    zeros = torch.zeros(4, dtype=torch.float64)
    state = {
        "in_proj_weight": torch.cat([identity, layer.key, layer.value]),
        "in_proj_bias": torch.cat([zeros, layer.key_bias, layer.value_bias]),
    }
    reference.load_state_dict(state | {"out_proj.weight": identity, "out_proj.bias": zeros})
    seeds = layer.seeds.expand(2, 3, 4)
    attended = reference(seeds, inputs.tokens, inputs.tokens, need_weights=False)[0]
    pooled = F.layer_norm(seeds + attended, (4,)) * layer.attention_scale + layer.attention_shift
    layers = F.relu(pooled @ layer.output.T + layer.output_bias)
    expected = (F.layer_norm(pooled + layers, (4,)) * layer.output_scale + layer.output_shift).flatten(1)[:, :10]
    torch.testing.assert_close(layer(inputs), expected, rtol=1e-10, atol=1e-10)


def test_attention_pooling_does_not_mind_the_order_of_tokens() -> None:
    shape = Shape(0, 6, 4, 10)
    layer, inputs = randomised(PMA(shape)), random_inputs(shape)
    torch.testing.assert_close(layer(inputs._replace(tokens=inputs.tokens.flip(1))), layer(inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        (BilinearFusion(Shape(16, 0, 16, 8, 32)), 8 * (16 + 32 + 16 * 32) + 8),
        (FieldGate(Shape(13, 26, 16, 8)), 26 * 13 + 26 + 8 * 26 + 8),
        (MaskBlock(Shape(0, 26, 16, 64)), 3 * 416 * 64 + 416 + 2 * 64),
        (LowRankCross(Shape(429, 0, 16, 64)), 2 * 16 * 429 + 429 + 64 * 429 + 64),
        # Lian et al., 2018, section 3.2.1: H_k H_(k-1) m for layer k.
        (CompressedInteraction(Shape(0, 26, 16, 64)), 32 * 26 * 26 + 32 * 32 * 26),
        (LinearCompression(Shape(0, 26, 16, 32)), 32 * 26),
        (FactorizationMachineBlock(Shape(0, 26, 16, 8)), 26 * 4 + 2 * 104 + 128 * 104 + 128 + 128 * 128 + 128),
        (PMA(Shape(0, 26, 16, 64)), 4 * 16 + 3 * (16 * 16 + 16) + 4 * 16),
    ],
)
def test_parameters_by_hand(layer: InteractionModule, parameters: int) -> None:
    assert num_parameters(layer) == parameters


def test_attention_divides_by_the_root_of_the_dimensions() -> None:
    layer = filled(PMA(Shape(0, 2, 4, 4)), seeds=[2 * math.log(3), 0, 0, 0], key=torch.eye(4).tolist(), value=torch.eye(4).tolist())
    filled(layer, output=[[0] * 4] * 4)
    # Scores of (1, 0, 0, 0) and of zeros: 2 ln 3 / sqrt(4) = ln 3 and 0, so 3/4 of the first token.
    expected = F.layer_norm(torch.tensor([2 * math.log(3) + 0.75, 0, 0, 0]).double(), (4,))
    output = layer(given(tokens=[[1, 0, 0, 0], [0, 0, 0, 0]], dim=4))
    torch.testing.assert_close(output, F.layer_norm(expected, (4,)).unsqueeze(0), rtol=1e-6, atol=1e-6)


def test_bilinear_fusion_by_hand() -> None:
    layer = BilinearFusion(Shape(2, 0, 1, 1, 3))
    filled(layer, left=[1, 10], right=[0.5, 0, 0], products=[[1, 0, 2], [0, 3, 0]], bias=[0.25])
    # 2 + 30 + .5 * 4 + 2 * 4 + 2 * 2 * 6 + 3 * 3 * 5 + .25
    assert layer(given([2, 3], right=[4, 5, 6])).tolist() == [[111.25]]


def test_bilinear_fusion_is_pytorchs_bilinear_map_beside_linear_ones() -> None:
    shape = Shape(3, 0, 1, 5, 4)
    layer, inputs = randomised(BilinearFusion(shape)), random_inputs(shape)
    expected = F.bilinear(inputs.dense, inputs.right, layer.products.view(5, 3, 4), layer.bias)
    close(layer(inputs), expected + inputs.dense @ layer.left.T + inputs.right @ layer.right.T)


def test_low_rank_fusion_by_hand() -> None:
    layer = filled(LowRankFusion(Shape(2, 0, 1, 2, 1)), left=[[1, 10], [0, 1]], left_bias=[0.5, 0], right=[[2], [-1]], right_bias=[0, 3])
    # (2 + 30 + .5) * 8; 3 * (-4 + 3)
    assert layer(given([2, 3], right=[4])).tolist() == [[260.0, -3.0]]


def test_token_linear_reads_tokens_side_by_side() -> None:
    layer = filled(TokenLinear(Shape(0, 2, 2, 2)), weight=[[1, 2, 3, 4], [-1, 0, 0, 0]], bias=[0.5, 0])
    assert layer(given(tokens=[[1, 2], [3, -4]], dim=2)).tolist() == [[0.0, 0.0]]
    assert layer(given(tokens=[[1, 2], [3, 4]], dim=2)).tolist() == [[30.5, 0.0]]


def test_field_gate_by_hand() -> None:
    layer = filled(FieldGate(Shape(1, 2, 2, 1)), gate=[0, math.log(3)], mix=[1, 10], mix_bias=[0.5])
    # Gates of 1 and 2 sigmoid(-ln 3) = 1/2: (1, 2) + 10 / 2 (4, 6)
    tokens = given([-1], [[1, 2], [4, 6]], dim=2)
    assert layer(tokens).flatten().tolist() == pytest.approx([21.5, 32.5])
    same_size = filled(FieldGate(Shape(1, 2, 2, 2)), gate=[0, math.log(3)])
    assert same_size(tokens).flatten().tolist() == pytest.approx([1, 2, 2, 3])


def test_mask_block_by_hand() -> None:
    layer = filled(
        MaskBlock(Shape(0, 2, 2, 2)),
        squeeze=[[1, 0, 0, -1], [-1, -1, -1, -1]],
        squeeze_bias=[4, 0],
        mask=[[0, 9], [math.log(3), 9], [0, 9], [-math.log(3), 9]],
        weight=[[1, 2, 3, 4], [-1, 0, 0, 0]],
        bias=[0.5, 0],
    )
    # Features (1, 2, 4, 4): hidden (1 - 4 + 4, -11) rectified is (1, 0); masks 2 sigmoid(0, ln 3, 0, -ln 3) = (1, 3/2, 1, 1/2).
    # Of the masked features (1, 3, 4, 2): 1 + 6 + 12 + 8 + 1/2, and -1 rectified.
    assert layer(given(tokens=[[1, 2], [4, 4]], dim=2)).flatten().tolist() == pytest.approx([27.5, 0])


def test_a_mask_block_that_knows_nothing_is_a_token_linear() -> None:
    shape = Shape(0, 3, 2, 4)
    layer, inputs = randomised(MaskBlock(shape)), random_inputs(shape)
    plain = filled(TokenLinear(shape), weight=layer.weight.tolist(), bias=layer.bias.tolist())
    assert not torch.allclose(layer(inputs), plain(inputs))
    filled(layer, mask=[[0] * 4] * 6, mask_bias=[0] * 6)
    close(layer(inputs), plain(inputs))
