"""FinalMLP: two MLPs whose outputs meet in a bilinear form (Mao et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys_nas.precision import outside_autocast
from recsys_nas.zoo.fields import Fields
from recsys_nas.zoo.mlp import DEEP, mlp_layers


class BilinearFusion(nn.Module):
    """`w_1 x + w_2 y + sum over heads of x_h' W_h y_h + b`: `[B, X]`, `[B, Y]` -> `[B, 1]` (the paper's interaction aggregation)."""

    def __init__(self, left: int, right: int, num_heads: int) -> None:
        super().__init__()
        if left % num_heads or right % num_heads:
            raise ValueError(f"{num_heads} heads do not divide streams of {left} and {right} features")
        self.num_heads = num_heads
        self.left = nn.Linear(left, 1)
        self.right = nn.Linear(right, 1)
        self.bilinear = nn.Parameter(torch.empty(num_heads, left // num_heads, right // num_heads))
        for head in self.bilinear.data:
            nn.init.xavier_normal_(head)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        with outside_autocast(left):
            return self._logits(left.to(self.bilinear.dtype), right.to(self.bilinear.dtype))

    def _logits(self, left: Tensor, right: Tensor) -> Tensor:
        # Heads first: one matrix product a head, whatever the batch.
        heads = left.unflatten(1, (self.num_heads, -1)).transpose(0, 1)
        mixed = torch.bmm(heads, self.bilinear).transpose(0, 1)
        products = (mixed * right.unflatten(1, (self.num_heads, -1))).sum((1, 2))
        linear: Tensor = self.left(left) + self.right(right)
        return linear + products.unsqueeze(1)


class FinalMlp(nn.Module):
    """Two MLPs on the same fields, fused; without feature selection, whose contexts are columns of one data set."""

    def __init__(
        self,
        num_dense: int,
        num_sparse: int,
        embedding_dim: int,
        first: Sequence[int] = DEEP,
        second: Sequence[int] = (1000,),
        num_heads: int = 200,
    ) -> None:
        super().__init__()
        width = (num_dense + num_sparse) * embedding_dim
        self.fields = Fields(num_dense, embedding_dim)
        self.first = mlp_layers(width, first)
        self.second = mlp_layers(width, second)
        self.fusion = BilinearFusion(first[-1], second[-1], num_heads)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        x = self.fields(dense, tokens).flatten(1)
        logits: Tensor = self.fusion(self.first(x), self.second(x))
        return logits.squeeze(1)
