"""Attention between tokens: self-attention, NASRec's transformer, and pooling by attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class SelfAttention(InteractionModule):
    """Tokens mixed down to T, then one head of attention between them with a residual; `[B, N, D] -> [B, T, D]`.

    AutoInt (Song et al., 2019, section 4.4), with the projections of Vaswani et al., 2017.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.mix = weight(shape.out, shape.tokens)
        self.query = weight(shape.dim, shape.dim)
        self.key = weight(shape.dim, shape.dim)
        self.value = weight(shape.dim, shape.dim)
        self.output = weight(shape.dim, shape.dim)

    def forward(self, inputs: Inputs) -> Tensor:
        mixed = F.linear(inputs.tokens.transpose(1, 2), self.mix).transpose(1, 2)
        query, key, value = (F.linear(mixed, w) for w in (self.query, self.key, self.value))
        return F.linear(attend(query, key, value), self.output) + mixed

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        whole = (slice(None), slice(None))
        return {"mix": (slice(part.out), part.tokens), "query": whole, "key": whole, "value": whole, "output": whole}

    @staticmethod
    def flops(shape: Shape) -> Number:
        mixing = 2 * shape.dim * shape.tokens * shape.out
        projections = 4 * 2 * shape.out * shape.dim * shape.dim
        return mixing + projections + attention_flops(shape.out, shape.out, shape.dim)


class Transformer(InteractionModule):
    """NASRec's attention block (Zhang et al., 2023, section 3.1; nasrec/supernet/modules.py, `Transformer`): tokens mixed down to
    T, 8 heads of attention between them, two fully connected layers; `[B, N, D] -> [B, T, D]`.

    A residual and layer normalisation follow the attention and the layers. D need not be a multiple of 8: there are as many
    heads as both divide by.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        dim = shape.dim
        self.mix, self.mix_bias = weight(shape.out, shape.tokens), bias(shape.out)
        self.query_key_value, self.query_key_value_bias = weight(3 * dim, dim), bias(3 * dim)
        self.output, self.output_bias = weight(dim, dim), bias(dim)
        self.attention_scale, self.attention_shift = scale(dim, NASREC_SCALE), bias(dim)
        self.first, self.first_bias = weight(dim, dim), bias(dim)
        self.second, self.second_bias = weight(dim, dim), bias(dim)
        self.layers_scale, self.layers_shift = scale(dim, NASREC_SCALE), bias(dim)

    def forward(self, inputs: Inputs) -> Tensor:
        dim = self.shape.dim
        mixed = F.linear(inputs.tokens.transpose(1, 2), self.mix, self.mix_bias).transpose(1, 2)
        query, key, value = F.linear(mixed, self.query_key_value, self.query_key_value_bias).split(dim, dim=2)
        attended = F.linear(attend(query, key, value, heads=math.gcd(8, dim)), self.output, self.output_bias)
        x = F.layer_norm(attended + mixed, (dim,), self.attention_scale, self.attention_shift)
        layers = F.linear(F.relu(F.linear(x, self.first, self.first_bias)), self.second, self.second_bias)
        return F.layer_norm(x + layers, (dim,), self.layers_scale, self.layers_shift)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        out = slice(part.out)
        whole = {name: (slice(None),) * parameter.dim() for name, parameter in self.named_parameters()}
        return whole | {"mix": (out, part.tokens), "mix_bias": (out,)}

    @staticmethod
    def flops(shape: Shape) -> Number:
        mixing = 2 * shape.dim * shape.tokens * shape.out
        projections = (4 + 2) * 2 * shape.out * shape.dim * shape.dim
        return mixing + projections + attention_flops(shape.out, shape.out, shape.dim)


class PMA(InteractionModule):
    """Learnt seeds attend to all tokens (pooling by multihead attention, PMA, with one head: Set Transformer, Lee et al., 2019,
    section 3.2); `[B, N, D] -> [B, W]`.

    With H = LN(S + softmax(S K' / sqrt(D)) V), the output is LN(H + relu(H W' + b)): as many seeds, side by side, as it takes to
    make W features. The seeds stand where the paper projects them: they occur only so. Its feed-forward layer on the tokens is
    left out, as in the authors' code.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        dim = shape.dim
        self.seeds = weight(_seeds(shape.out, dim), dim)
        self.key, self.key_bias = weight(dim, dim), bias(dim)
        self.value, self.value_bias = weight(dim, dim), bias(dim)
        self.attention_scale, self.attention_shift = scale(dim), bias(dim)
        self.output, self.output_bias = weight(dim, dim), bias(dim)
        self.output_scale, self.output_shift = scale(dim), bias(dim)

    def forward(self, inputs: Inputs) -> Tensor:
        dim = self.shape.dim
        key, value = F.linear(inputs.tokens, self.key, self.key_bias), F.linear(inputs.tokens, self.value, self.value_bias)
        seeds = self.seeds.expand(len(key), *self.seeds.shape)
        pooled = F.layer_norm(seeds + attend(seeds, key, value), (dim,), self.attention_scale, self.attention_shift)
        layer = F.relu(F.linear(pooled, self.output, self.output_bias))
        return F.layer_norm(pooled + layer, (dim,), self.output_scale, self.output_shift).flatten(1)[:, : self.shape.out]

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        whole = {name: (slice(None),) * parameter.dim() for name, parameter in self.named_parameters()}
        return whole | {"seeds": (slice(_seeds(part.out, self.shape.dim)), slice(None))}

    @staticmethod
    def flops(shape: Shape) -> Number:
        seeds, square = _seeds(shape.out, shape.dim), shape.dim * shape.dim
        return 2 * 2 * shape.tokens * square + attention_flops(seeds, shape.tokens, shape.dim) + 2 * seeds * square


NASREC_SCALE = 0.17
"""What the scales of NASRec's normalisation begin with."""


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int = 1) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2) of queries `[B, Q, D]` to `[B, N, D]` -> `[B, Q, D]`, each
    head on D / heads of the dimensions.

    Written as two products of matrices, so that FLOPs and memory traffic are what is counted, on every device alike: of PyTorch's
    fused attention, faster on a CPU, the FLOP counter sees nothing there.
    """
    head_dim = query.shape[-1] // heads
    query, key, value = (_split(x, heads) for x in (query, key, value))
    scores = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(head_dim)
    attended = torch.bmm(scores.softmax(-1), value)
    return attended if heads == 1 else attended.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)


def _split(x: Tensor, heads: int) -> Tensor:
    """`[B, N, D] -> [B * heads, N, D / heads]`."""
    return x if heads == 1 else x.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1)


def attention_flops(queries: Number, keys: Number, dim: int) -> Number:
    """Of `attend`, the same with any number of heads."""
    return 2 * 2 * queries * keys * dim


def scale(size: int, value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.full((size,), value))


def _seeds(out: int, dim: int) -> int:
    return -(-out // dim)
