"""Modules of two dense inputs, the narrower one padded with zeros to the width of the other, P (NASRec: Zhang et al., 2023,
section 3.1; nasrec/supernet/modules.py, `SigmoidGating` and `Sum`)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.modules import projection
from recsys_nas.modules.base import Index, Inputs, InteractionModule, Number, Part, Shape, bias, weight


class SigmoidGating(InteractionModule):
    """`sigmoid(left W' + b) * right`, both padded to P features, projected where P is not W already;
    `[B, F], [B, R] -> [B, W]`.

    In a slice each feature of either input keeps its weights. The padding meets weights too, which change nothing: they
    are those of the positions that come first among the rest.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        padded = _padded_width(shape)
        self.gate = weight(padded, padded)
        self.gate_bias = bias(padded)
        self.output, self.output_bias = projection.parameters(shape.out, padded, shared)

    def forward(self, inputs: Inputs) -> Tensor:
        left, right = _padded(inputs)
        gated = F.linear(left, self.gate, self.gate_bias).sigmoid() * right
        return projection.project(gated, self.output, self.output_bias, self.shape.out)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        width, full = max(len(part.dense), len(part.right)), _padded_width(self.shape)
        # What a gate opens is a feature on the right; what decides about it are those on the left.
        columns, rows = _filled(part.dense, width, full), _filled(part.right, width, full)
        projected = projection.slices("output", slice(part.out), rows, (part.out, width))
        return {"gate": (rows, columns), "gate_bias": (rows,)} | projected

    @staticmethod
    def flops(shape: Shape) -> Number:
        padded = _padded_width(shape)
        return 2 * padded * padded + projection.flops(shape.out, padded)


class Sum(InteractionModule):
    """`left + right`, both padded to P features, projected where P is not W already; `[B, F], [B, R] -> [B, W]`.

    Features that are added share a weight, so a slice can keep the weights of one side only: those of the wider, or of
    the left where both are equal.
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__(shape, shared)
        self.output, self.output_bias = projection.parameters(shape.out, _padded_width(shape), shared)

    def forward(self, inputs: Inputs) -> Tensor:
        left, right = _padded(inputs)
        return projection.project(left + right, self.output, self.output_bias, self.shape.out)

    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        columns = part.dense if len(part.dense) >= len(part.right) else part.right
        return projection.slices("output", slice(part.out), columns, (part.out, len(columns)))

    @staticmethod
    def flops(shape: Shape) -> Number:
        return projection.flops(shape.out, _padded_width(shape))


def _padded_width(shape: Shape) -> Number:
    return max(shape.dense, shape.right)


def _padded(inputs: Inputs) -> tuple[Tensor, Tensor]:
    missing = inputs.dense.shape[1] - inputs.right.shape[1]
    return F.pad(inputs.dense, (0, max(-missing, 0))), F.pad(inputs.right, (0, max(missing, 0)))


def _filled(positions: Tensor, width: int, full: int) -> Tensor:
    """`positions`, then the first of the other `full` ones, `width` in all."""
    rest = torch.ones(full, dtype=torch.bool, device=positions.device)
    rest[positions] = False
    return torch.cat([positions, rest.nonzero().squeeze(1)[: width - len(positions)]])
