"""FinalMLP: two MLPs, each on features that gates select for it, whose outputs meet in a bilinear form (Mao et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        # All heads are one column of weights, as in FuxiCTR. A head by itself would be drawn nine times as wide on Frappe: logits begin far
        # from 0, and early stopping cuts the rates at the dips that follow (docs/quality/frappe.md).
        nn.init.xavier_normal_(self.bilinear.data.view(-1, 1))

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


class FeatureSelection(nn.Module):
    """`2 sigmoid(MLP(context)) * features` `[B, F, D]`: the features as the embedding of one field, the context, weighs them.

    The published code looks the context up in a second table of its own; here it is the field's embedding.
    """

    def __init__(self, features: int, embedding_dim: int, context: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.context = context
        layers: list[nn.Module] = []
        for before, after in pairwise([embedding_dim, *hidden]):
            layers += [nn.Linear(before, after), _GateReLU()]
        self.gate = nn.Sequential(*layers, nn.Linear(hidden[-1], features), nn.Sigmoid())

    def forward(self, fields: Tensor) -> Tensor:
        selected: Tensor = 2 * self.gate(fields[:, self.context]) * fields.flatten(1)
        return selected


class _GateReLU(nn.Module):
    """A ReLU that stays bare: gates are normalised neither by batches nor by dropout."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class FinalMlp(nn.Module):
    """Two MLPs on the same fields, fused.

    `contexts`: for feature selection, the field that decides for each of the two (they are columns of one data set, hence none by
    default); `gate_hidden` the hidden layers of its gates.
    """

    def __init__(
        self,
        num_dense: int,
        num_sparse: int,
        embedding_dim: int,
        first: Sequence[int] = DEEP,
        second: Sequence[int] = (1000,),
        num_heads: int = 200,
        contexts: Sequence[int] = (),
        gate_hidden: Sequence[int] = (800,),
    ) -> None:
        super().__init__()
        width = (num_dense + num_sparse) * embedding_dim
        self.fields = Fields(num_dense, embedding_dim)
        gates = [FeatureSelection(width, embedding_dim, num_dense + context, gate_hidden) for context in contexts]
        self.selections = nn.ModuleList(gates or [nn.Flatten(), nn.Flatten()])
        self.first = mlp_layers(width, first)
        self.second = mlp_layers(width, second)
        self.fusion = BilinearFusion(first[-1], second[-1], num_heads)

    def forward(self, dense: Tensor, tokens: Tensor) -> Tensor:
        fields = self.fields(dense, tokens)
        first, second = (selection(fields) for selection in self.selections)
        logits: Tensor = self.fusion(self.first(first), self.second(second))
        return logits.squeeze(1)
