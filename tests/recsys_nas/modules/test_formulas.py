"""Every module against its formula written out the long way: loops over pairs, and PyTorch's own attention."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules import LAYERS, Inputs, InteractionModule, Shape
from tests.recsys_nas.random_networks import randomise

SHAPE = Shape(dense=3, tokens=4, dim=2, out=5)


def layer_and_inputs(name: str, rows: int = 2) -> tuple[InteractionModule, Tensor, Tensor]:
    layer = LAYERS[name](SHAPE).double()
    randomise(layer)
    generator = torch.Generator().manual_seed(3)
    dense = torch.randn(rows, SHAPE.dense, generator=generator, dtype=torch.float64)
    return layer, dense, torch.randn(rows, SHAPE.tokens, SHAPE.dim, generator=generator, dtype=torch.float64)


def given(dense: Tensor, tokens: Tensor) -> Inputs:
    return Inputs(dense, tokens, dense[:, :0])


def fill(layer: InteractionModule, **values: list[Any]) -> None:
    for name, value in values.items():
        with torch.no_grad():
            layer.get_parameter(name).copy_(torch.tensor(value, dtype=torch.float64))


def test_linear() -> None:
    layer = LAYERS["linear"](Shape(2, 0, 1, 2)).double()
    fill(layer, weight=[[1, 2], [-3, 1]], bias=[0.5, 0.25])
    output = layer(given(torch.tensor([[1.0, -2.0], [1.0, 2.0]]).double(), torch.zeros(2, 0, 1)))
    # 1 - 4 + .5 < 0; -3 - 2 + .25 < 0; 1 + 4 + .5; -3 + 2 + .25 < 0
    assert output.tolist() == [[0.0, 0.0], [5.5, 0.0]]


def test_cross_by_hand() -> None:
    layer = LAYERS["cross"](Shape(2, 0, 1, 1)).double()
    fill(layer, cross=[[1, 2], [0, -1]], cross_bias=[1, 0.5], weight=[[1, 10]], bias=[0.25])
    # x = (3, 2): W x + b = (8, -1.5); x * that + x = (27, -1); 27 - 10 + .25
    assert layer(given(torch.tensor([[3.0, 2.0]]).double(), torch.zeros(1, 0, 1))).tolist() == [[17.25]]


def test_fm_by_hand() -> None:
    layer = LAYERS["fm"](Shape(0, 3, 2, 1)).double()
    fill(layer, weight=[[1, 100]], bias=[0.5])
    tokens = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]]).double()
    # per dimension, the sum of products of all pairs: 1*3 + 1*.5 + 3*.5 = 5; -2 + 8 - 4 = 2
    assert layer(given(torch.zeros(1, 0).double(), tokens)).tolist() == [[205.5]]


def test_fm_is_the_sum_over_pairs() -> None:
    layer, dense, tokens = layer_and_inputs("fm")
    pooled = torch.stack([a * b for a, b in itertools.combinations(tokens.unbind(1), 2)]).sum(0)
    expected = pooled @ layer.get_parameter("weight").T + layer.get_parameter("bias")
    torch.testing.assert_close(layer(given(dense, tokens)), expected, rtol=1e-12, atol=1e-12)


def test_dot_product_is_all_pairs_with_the_dense_token_first() -> None:
    layer, dense, tokens = layer_and_inputs("dot_product")
    dense_token = dense @ layer.get_parameter("to_token").T + layer.get_parameter("to_token_bias")
    nodes = [dense_token, *tokens.unbind(1)]
    pairs = torch.stack([(a * b).sum(1) for a, b in itertools.combinations(nodes, 2)], dim=1)
    assert pairs.shape == (2, 10)
    expected = pairs @ layer.get_parameter("weight").T + layer.get_parameter("bias")
    torch.testing.assert_close(layer(given(dense, tokens)), expected, rtol=1e-12, atol=1e-12)


def test_dot_product_by_hand() -> None:
    layer = LAYERS["dot_product"](Shape(1, 2, 2, 1)).double()
    fill(layer, to_token=[[1], [2]], to_token_bias=[0, 1], weight=[[1, 10, 100]], bias=[0.5])
    tokens = torch.tensor([[[1.0, -1.0], [2.0, 3.0]]]).double()
    # dense token of 3: (3, 7); with the tokens -4 and 27; the tokens with each other -1
    assert layer(given(torch.tensor([[3.0]]).double(), tokens)).tolist() == [[-4 + 270 - 100 + 0.5]]


def test_embedded_fc_mixes_tokens_dimension_by_dimension() -> None:
    layer = LAYERS["embedded_fc"](Shape(0, 2, 2, 3)).double()
    fill(layer, weight=[[1, 2], [-1, 0], [0, 1]], bias=[0.5, 0, -1])
    tokens = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]]).double()
    assert layer(given(torch.zeros(1, 0).double(), tokens)).tolist() == [[[7.5, 0.0], [0.0, 0.0], [2.0, 0.0]]]


def test_self_attention_is_pytorchs_attention_with_a_residual() -> None:
    layer, dense, tokens = layer_and_inputs("self_attention")
    mix, query, key, value, output = (layer.get_parameter(name) for name in ("mix", "query", "key", "value", "output"))
    mixed = torch.einsum("tn,bnd->btd", mix, tokens)
    attended = F.scaled_dot_product_attention(mixed @ query.T, mixed @ key.T, mixed @ value.T)
    torch.testing.assert_close(layer(given(dense, tokens)), attended @ output.T + mixed, rtol=1e-10, atol=1e-10)


def test_self_attention_by_hand() -> None:
    layer = LAYERS["self_attention"](Shape(0, 2, 1, 2)).double()
    fill(layer, mix=[[1, 0], [0, 1]], query=[[0]], key=[[5]], value=[[2]], output=[[3]])
    # Queries of zero attend to both tokens alike: 3 * 2 * mean(1, 5) = 18, beside the residual.
    assert layer(given(torch.zeros(1, 0).double(), torch.tensor([[[1.0], [5.0]]]).double())).tolist() == [[[19.0], [23.0]]]
