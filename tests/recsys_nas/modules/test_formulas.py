"""Modules of Wide & Deep, DLRM, DCNv2, FM, NASRec and AutoInt against their formulas: loops over pairs, PyTorch's attention."""

from __future__ import annotations

import itertools

import torch
from torch.nn import functional as F

from recsys_nas.modules import Shape
from recsys_nas.modules.attention import SelfAttention
from recsys_nas.modules.cross import Cross
from recsys_nas.modules.dot_product import DotProduct
from recsys_nas.modules.embedded_fc import EmbeddedFC
from recsys_nas.modules.fm import FactorizationMachine
from recsys_nas.modules.linear import Linear
from tests.recsys_nas.modules.layers import close, filled, given, random_inputs, randomised

SHAPE = Shape(dense=3, tokens=4, dim=2, out=5)


def test_linear() -> None:
    layer = filled(Linear(Shape(2, 0, 1, 2)), weight=[[1, 2], [-3, 1]], bias=[0.5, 0.25])
    # 1 - 4 + .5 < 0; -3 - 2 + .25 < 0; 1 + 4 + .5; -3 + 2 + .25 < 0
    assert layer(given([1, -2])).tolist() == [[0.0, 0.0]]
    assert layer(given([1, 2])).tolist() == [[5.5, 0.0]]


def test_cross_by_hand() -> None:
    layer = filled(Cross(Shape(2, 0, 1, 1)), cross=[[1, 2], [0, -1]], cross_bias=[1, 0.5], weight=[[1, 10]], bias=[0.25])
    # x = (3, 2): W x + b = (8, -1.5); x * that + x = (27, -1); 27 - 10 + .25
    assert layer(given([3, 2])).tolist() == [[17.25]]


def test_fm_by_hand() -> None:
    layer = filled(FactorizationMachine(Shape(0, 3, 2, 1)), weight=[[1, 100]], bias=[0.5])
    # per dimension, the sum of products of all pairs: 1*3 + 1*.5 + 3*.5 = 5; -2 + 8 - 4 = 2
    assert layer(given(tokens=[[1, 2], [3, -1], [0.5, 4]], dim=2)).tolist() == [[205.5]]


def test_fm_is_the_sum_over_pairs() -> None:
    layer, inputs = randomised(FactorizationMachine(SHAPE)), random_inputs(SHAPE)
    pooled = torch.stack([a * b for a, b in itertools.combinations(inputs.tokens.unbind(1), 2)]).sum(0)
    close(layer(inputs), pooled @ layer.weight.T + layer.bias)


def test_dot_product_is_all_pairs_with_the_dense_token_first() -> None:
    layer, inputs = randomised(DotProduct(SHAPE)), random_inputs(SHAPE)
    nodes = [inputs.dense @ layer.to_token.T + layer.to_token_bias, *inputs.tokens.unbind(1)]
    pairs = torch.stack([(a * b).sum(1) for a, b in itertools.combinations(nodes, 2)], dim=1)
    assert pairs.shape == (2, 10)
    close(layer(inputs), pairs @ layer.weight.T + layer.bias)


def test_dot_product_by_hand() -> None:
    layer = filled(DotProduct(Shape(1, 2, 2, 1)), to_token=[[1], [2]], to_token_bias=[0, 1], weight=[[1, 10, 100]], bias=[0.5])
    # dense token of 3: (3, 7); with the tokens -4 and 27; the tokens with each other -1
    assert layer(given([3], [[1, -1], [2, 3]], dim=2)).tolist() == [[-4 + 270 - 100 + 0.5]]


def test_embedded_fc_mixes_tokens_dimension_by_dimension() -> None:
    layer = filled(EmbeddedFC(Shape(0, 2, 2, 3)), weight=[[1, 2], [-1, 0], [0, 1]], bias=[0.5, 0, -1])
    assert layer(given(tokens=[[1, 2], [3, -4]], dim=2)).tolist() == [[[7.5, 0.0], [0.0, 0.0], [2.0, 0.0]]]


def test_self_attention_is_pytorchs_attention_with_a_residual() -> None:
    layer, inputs = randomised(SelfAttention(SHAPE)), random_inputs(SHAPE)
    mixed = torch.einsum("tn,bnd->btd", layer.mix, inputs.tokens)
    attended = F.scaled_dot_product_attention(mixed @ layer.query.T, mixed @ layer.key.T, mixed @ layer.value.T)
    torch.testing.assert_close(layer(inputs), attended @ layer.output.T + mixed, rtol=1e-10, atol=1e-10)


def test_self_attention_by_hand() -> None:
    layer = filled(SelfAttention(Shape(0, 2, 1, 2)), mix=[[1, 0], [0, 1]], query=[[0]], key=[[5]], value=[[2]], output=[[3]])
    # Queries of zero attend to both tokens alike: 3 * 2 * mean(1, 5) = 18, beside the residual.
    assert layer(given(tokens=[[1], [5]])).tolist() == [[[19.0], [23.0]]]
