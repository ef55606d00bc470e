"""What every interaction module is: an ordinary layer built at exact sizes, plus a rule that says which part of its
full-size parameters a smaller network uses.

Letters: B batch, F dense features, R features of the second dense input, N tokens, D embedding dim, W dense output width,
T output tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Index = Tensor | slice
"""Positions along one dimension of a parameter; a tensor of them may lie on the CPU whatever the parameter's device."""

# An int for a real network; a float or tensor when the cost of a relaxed one is asked for.
Number = Any


class Inputs(NamedTuple):
    """What a module is given: dense `[B, F]`, tokens `[B, N, D]`, and `right` `[B, R]`, the dense stream of a second set of
    sources, which modules of two dense inputs read (empty, R = 0, for all others)."""

    dense: Tensor
    tokens: Tensor
    right: Tensor


@dataclass(frozen=True)
class Shape:
    """Sizes of one module: it reads dense `[B, dense]`, sparse `[B, tokens, dim]` and a second dense `[B, right]`, and makes
    `out` features or tokens. Inner sizes (ranks, heads, seeds) follow from `dim` and `out`, never from what is read."""

    dense: Number
    tokens: Number
    dim: int
    out: int
    right: Number = 0


@dataclass(frozen=True)
class Part:
    """The part of a full-size module that a smaller network uses: positions in its inputs `[F']`, `[N']`, `[R']`, ascending,
    and its first `out` outputs."""

    dense: Tensor
    tokens: Tensor
    right: Tensor
    out: int

    def token_features(self, dim: int) -> Tensor:
        """Positions of its tokens' dimensions `[N' D]` where all tokens lie in a row."""
        return (self.tokens.unsqueeze(1) * dim + torch.arange(dim, device=self.tokens.device)).flatten()


class InteractionModule(nn.Module, ABC):
    """A layer from the two streams to one. `forward` knows nothing of slicing: it runs at the sizes of its parameters.

    `shared`: hold every parameter that a smaller network may slice, even one that this very shape can do without (a
    projection between equal sizes).
    """

    def __init__(self, shape: Shape, shared: bool = False) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """The inputs -> `[B, W]` (makes dense) or `[B, T, D]` (makes sparse)."""

    @abstractmethod
    def slices(self, part: Part) -> dict[str, tuple[Index, ...]]:
        """For each parameter that the layer of the part's sizes has, by name: the index along each of its dimensions that
        `part` uses. Only a layer built with `shared=True` is sure to have them all."""

    @staticmethod
    @abstractmethod
    def flops(shape: Shape) -> Number:
        """Matmul-class FLOPs per example of the forward pass (one multiply-add = 2), for ints exactly what torch counts."""


class RectifiedModule(InteractionModule):
    """A layer that ends in a ReLU. Batch normalisation goes in front of that: `recsys_nas.model.NormalisedModule` takes the two apart."""

    @abstractmethod
    def linear(self, inputs: Inputs) -> Tensor:
        """The output before the ReLU, shaped as that of `forward`."""

    def forward(self, inputs: Inputs) -> Tensor:
        return F.relu(self.linear(inputs))


def weight(*size: int) -> nn.Parameter:
    """A matrix drawn from Xavier's uniform distribution (Glorot and Bengio, 2010)."""
    parameter = nn.Parameter(torch.empty(*size))
    # On the meta device there is nothing to draw, and trying takes most of the time of making a network without memory.
    if parameter.numel() and not parameter.is_meta:
        nn.init.xavier_uniform_(parameter)
    return parameter


def bias(size: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(size))


def take(parameter: Tensor, index: tuple[Index, ...]) -> Tensor:
    """The block of `parameter` that `index` names, one entry a dimension; gradients flow back to the full parameter."""
    for axis, positions in enumerate(index):
        if isinstance(positions, slice):
            parameter = parameter[(slice(None),) * axis + (positions,)]
        elif not _is_everything(positions, parameter.shape[axis]):
            parameter = parameter.index_select(axis, positions.to(parameter.device))
    return parameter


def _is_everything(positions: Tensor, size: int) -> bool:
    return len(positions) == size and torch.equal(positions, torch.arange(size, device=positions.device))
