"""WuKong: stacked layers, each an FM block and a linear compression block side by side (Zhang et al., 2024).

Letters: B batch, N tokens in, T tokens out, D embedding dim, K rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recsys_nas.precision import LogitLayer
from recsys_nas.zoo.fields import Fields
from recsys_nas.zoo.mlp import mlp_layers


@dataclass(frozen=True)
class WukongSetting:
    """Sizes of a WuKong; by default FuxiCTR's (model_zoo/WuKong/config/model_config.yaml, `WuKong_default`)."""

    layers: int = 3
    linear_tokens: int = 40
    fm_tokens: int = 40
    rank: int = 8
    fm_hidden: tuple[int, ...] = (512, 256)
    head_hidden: tuple[int, ...] = (512, 256)


class FmBlock(nn.Module):
    """`[B, N, D]` -> `[B, T, D]`: products of the tokens with K mixtures of them, normalised, through an MLP (the paper's optimised FM)."""

    def __init__(self, tokens: int, embedding_dim: int, out: int, rank: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.mix = nn.Linear(tokens, rank, bias=False)
        self.norm = nn.LayerNorm(tokens * rank)
        self.deep = mlp_layers(tokens * rank, [*hidden, out * embedding_dim])
        self.out = out

    def forward(self, tokens: Tensor) -> Tensor:
        products = torch.bmm(tokens, self.mix(tokens.transpose(1, 2)))
        made: Tensor = self.deep(self.norm(products.flatten(1)))
        return made.unflatten(1, (self.out, -1))


class WukongLayer(nn.Module):
    """`LayerNorm(concat(FMB(X), LCB(X)) + X)`, the residual projected where the numbers of tokens differ."""

    def __init__(self, tokens: int, embedding_dim: int, setting: WukongSetting) -> None:
        super().__init__()
        out = setting.fm_tokens + setting.linear_tokens
        self.fm = FmBlock(tokens, embedding_dim, setting.fm_tokens, setting.rank, setting.fm_hidden)
        self.compress = nn.Linear(tokens, setting.linear_tokens, bias=False)
        self.residual = nn.Linear(tokens, out) if tokens != out else nn.Identity()
        self.norm = nn.LayerNorm(embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        across = tokens.transpose(1, 2)
        made = torch.cat([self.fm(tokens), self.compress(across).transpose(1, 2)], dim=1)
        normalised: Tensor = self.norm(made + self.residual(across).transpose(1, 2))
        return normalised


class Wukong(nn.Module):
    """WuKong layers on all fields, then an MLP on the flattened tokens."""

    def __init__(self, num_dense: int, num_sparse: int, embedding_dim: int, setting: WukongSetting | None = None) -> None:
        super().__init__()
        setting = setting or WukongSetting()
        out = setting.fm_tokens + setting.linear_tokens
        widths = [num_dense + num_sparse] + [out] * setting.layers
        self.fields = Fields(num_dense, embedding_dim)
        self.layers = nn.Sequential(*(WukongLayer(width, embedding_dim, setting) for width in widths[:-1]))
        self.head = nn.Sequential(mlp_layers(out * embedding_dim, setting.head_hidden), LogitLayer(setting.head_hidden[-1], 1))

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(self.fields(dense, tokens)).flatten(1))
        return logits.squeeze(1)
