"""The published models against their formulas, written out with loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.zoo.autoint import InteractingLayer
from recsys_nas.zoo.dcnv2 import DcnV2
from recsys_nas.zoo.dlrm import Dlrm
from recsys_nas.zoo.factorisation import CompressedInteractionNetwork, DeepFm, Fm, XDeepFm
from recsys_nas.zoo.fields import Fields, FirstOrder
from recsys_nas.zoo.finalmlp import BilinearFusion, FinalMlp
from recsys_nas.zoo.mlp import Mlp
from recsys_nas.zoo.wukong import Wukong, WukongSetting
from tests.recsys_nas.random_networks import randomise


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 4, generator=generator, dtype=dtype), torch.randn(3, 5, 8, generator=generator, dtype=dtype)


def randomised(network: nn.Module) -> nn.Module:
    randomise(network.double())
    return network


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-6)


def relu_layers(x: Tensor, layers: list[nn.Linear]) -> Tensor:
    for layer in layers:
        x = (x @ layer.weight.T + layer.bias).clamp(min=0)
    return x


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def fields_by_hand(part: Fields, dense: Tensor, tokens: Tensor) -> list[Tensor]:
    return [dense[:, i : i + 1] * part.vectors[i] for i in range(dense.shape[1])] + list(tokens.unbind(1))


def first_order_by_hand(part: FirstOrder, dense: Tensor, tokens: Tensor) -> Tensor:
    weights, width = part.weights.weight[0], tokens.shape[2]
    total = part.weights.bias + sum(weights[i] * dense[:, i] for i in range(dense.shape[1]))
    for i, token in enumerate(tokens.unbind(1)):
        start = dense.shape[1] + i * width
        total = total + token @ weights[start : start + width]
    return total


def pairs_by_hand(fields: list[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum(1) for a, b in itertools.combinations(fields, 2)]).sum(0)


def test_mlp() -> None:
    network = randomised(Mlp(4, 5, 8))
    dense, tokens = batch()
    *deep, head = linear_layers(network)
    expected = relu_layers(torch.cat([dense, tokens.flatten(1)], dim=1), deep) @ head.weight.T + head.bias
    close(network(dense, tokens), expected.squeeze(1))


def test_dcnv2() -> None:
    network = randomised(DcnV2(4, 5, 8))
    dense, tokens = batch()
    *layers, head = linear_layers(network)
    x0 = torch.cat([dense, tokens.flatten(1)], dim=1)
    x = x0
    for cross in layers[:3]:
        x = x0 * (x @ cross.weight.T + cross.bias) + x
    expected = torch.cat([x, relu_layers(x0, layers[3:])], dim=1) @ head.weight.T + head.bias
    close(network(dense, tokens), expected.squeeze(1))


def test_dlrm() -> None:
    network = randomised(Dlrm(4, 5, 8))
    dense, tokens = batch()
    layers = linear_layers(network)
    bottom = relu_layers(dense, layers[:4])
    pairs = [(a * b).sum(1) for a, b in itertools.combinations([bottom, *tokens.unbind(1)], 2)]
    top = relu_layers(torch.cat([bottom, torch.stack(pairs, dim=1)], dim=1), layers[4:-1])
    expected = top @ layers[-1].weight.T + layers[-1].bias
    close(network(dense, tokens), expected.squeeze(1))


def test_fm() -> None:
    network = Fm(4, 5, 8)
    randomised(network)
    dense, tokens = batch()
    fields = fields_by_hand(network.fields, dense, tokens)
    close(network(dense, tokens), first_order_by_hand(network.first_order, dense, tokens) + pairs_by_hand(fields))


def test_deepfm() -> None:
    network = DeepFm(4, 5, 8)
    randomised(network)
    dense, tokens = batch()
    fields = fields_by_hand(network.fields, dense, tokens)
    deep = network.deep(dense[:, :0], torch.stack(fields, dim=1))
    close(network(dense, tokens), first_order_by_hand(network.first_order, dense, tokens) + pairs_by_hand(fields) + deep)


def cin_by_hand(cin: CompressedInteractionNetwork, fields: list[Tensor]) -> Tensor:
    hidden, pooled = fields, []
    for layer in cin.layers:
        assert isinstance(layer, nn.Linear)
        made = []
        for out in range(layer.out_features):
            new = layer.bias[out] + torch.zeros_like(fields[0])
            for (i, field), (j, before) in itertools.product(enumerate(fields), enumerate(hidden)):
                new = new + layer.weight[out, i * len(hidden) + j] * field * before
            made.append(new)
        hidden = made
        pooled += [each.sum(1) for each in made]
    return torch.stack(pooled, dim=1) @ cin.head.weight[0] + cin.head.bias


def test_xdeepfm() -> None:
    network = XDeepFm(4, 5, 8, maps=(3, 2))
    randomised(network)
    dense, tokens = batch()
    fields = fields_by_hand(network.fields, dense, tokens)
    deep = network.deep(dense[:, :0], torch.stack(fields, dim=1))
    first = first_order_by_hand(network.first_order, dense, tokens)
    close(network(dense, tokens), first + cin_by_hand(network.cin, fields) + deep)


@pytest.mark.parametrize("width", [6, 8])
def test_interacting_layer(width: int) -> None:
    layer = InteractingLayer(width, 6, num_heads=2)
    randomised(layer)
    fields = batch()[1][:, :, :width]
    rows = []
    for row in fields:
        heads = []
        for part in (slice(0, 3), slice(3, 6)):
            query, key, value = (row @ linear.weight[part].T for linear in (layer.query, layer.key, layer.value))
            heads.append(torch.stack([F.softmax(torch.stack([q @ k for k in key]), 0) @ value for q in query]))
        residual = row if width == 6 else row @ layer.residual.weight.T
        summed = torch.cat(heads, dim=1) + residual
        normalised = (summed - summed.mean(1, keepdim=True)) / (summed.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        rows.append((normalised * layer.norm.weight + layer.norm.bias).clamp(min=0))
    close(layer(fields), torch.stack(rows))


def test_bilinear_weights_are_drawn_as_one_column() -> None:
    torch.manual_seed(0)
    weights = BilinearFusion(400, 100, 5).bilinear.detach()
    assert weights.shape == (5, 80, 20)
    assert float(weights.std()) == pytest.approx((2 / 8001) ** 0.5, rel=0.03)


def test_bilinear_fusion() -> None:
    fusion = BilinearFusion(6, 4, num_heads=2)
    randomised(fusion)
    left, right = batch()[1].flatten(1)[:, :6], batch()[1].flatten(1)[:, 10:14]
    total = left @ fusion.left.weight[0] + fusion.left.bias + right @ fusion.right.weight[0] + fusion.right.bias
    for head in range(2):
        x, y = left[:, 3 * head : 3 * head + 3], right[:, 2 * head : 2 * head + 2]
        total = total + torch.stack([a @ fusion.bilinear[head] @ b for a, b in zip(x, y, strict=True)])
    close(fusion(left, right), total.unsqueeze(1))


def test_finalmlp_feeds_both_mlps_the_same_fields() -> None:
    network = FinalMlp(4, 5, 8, first=(6,), second=(4,), num_heads=2)
    randomised(network)
    dense, tokens = batch()
    x = torch.cat(fields_by_hand(network.fields, dense, tokens), dim=1)
    left, right = (relu_layers(x, linear_layers(part)) for part in (network.first, network.second))
    close(network(dense, tokens), network.fusion(left, right).squeeze(1))


def test_heads_that_do_not_divide_the_streams_are_refused() -> None:
    with pytest.raises(ValueError, match="4 heads do not divide streams of 6 and 4 features"):
        BilinearFusion(6, 4, num_heads=4)


def test_wukong_layer() -> None:
    setting = WukongSetting(layers=2, linear_tokens=3, fm_tokens=2, rank=2, fm_hidden=(7,), head_hidden=(6,))
    network = Wukong(4, 5, 8, setting)
    randomised(network)
    dense, tokens = batch()
    x = torch.stack(fields_by_hand(network.fields, dense, tokens), dim=1)
    for layer in network.layers:
        mixed = torch.einsum("kn,bnd->bkd", layer.fm.mix.weight, x)  # type: ignore[union-attr]
        products = torch.einsum("bnd,bkd->bnk", x, mixed).flatten(1)
        made = relu_layers(layer.fm.norm(products), linear_layers(layer.fm.deep)).view(3, 2, 8)  # type: ignore[union-attr,arg-type,operator]
        joined = torch.cat([made, torch.einsum("tn,bnd->btd", layer.compress.weight, x)], dim=1)  # type: ignore[union-attr]
        residual = x
        if isinstance(layer.residual, nn.Linear):
            residual = torch.einsum("tn,bnd->btd", layer.residual.weight, x) + layer.residual.bias[:, None]
        x = layer.norm(joined + residual)  # type: ignore[operator]
    *deep, head = linear_layers(network.head)
    close(network(dense, tokens), (relu_layers(x.flatten(1), deep) @ head.weight.T + head.bias).squeeze(1))
