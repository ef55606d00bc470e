"""Cuts a block out of a full-size parameter and puts its gradient back, with one copy each way."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys_nas.modules import Index

# Positions that fall into more runs than this are gathered one by one.
MAX_RUNS = 8
Cut = tuple[slice | list[slice] | Tensor, ...]
"""Along each axis: one run of positions, a few, or the positions themselves."""


def cut_of(index: tuple[Index, ...], device: torch.device) -> Cut:
    """The same index, with runs of positions as slices."""
    return tuple(positions if isinstance(positions, slice) else _runs(positions, device) for positions in index)


def cut_out(parameter: Tensor, cut: Cut) -> Tensor:
    """The block of `parameter` that `cut` names: a view where it is one run along each axis. Gradients are 0 elsewhere."""
    if all(isinstance(positions, slice) and _is_whole(positions, size) for positions, size in zip(cut, parameter.shape, strict=True)):
        return parameter
    block: Tensor = _CutOut.apply(parameter, cut)
    return block


def put_back(full: Tensor, cut: Cut, block: Tensor) -> None:
    """Write `block` to the place in `full` that `cut` names."""
    if any(isinstance(positions, Tensor) for positions in cut):
        axes = [_positions(positions, size, full.device) for positions, size in zip(cut, full.shape, strict=True)]
        full[torch.meshgrid(*axes, indexing="ij")] = block
        return
    runs = (_pairs(positions, size) for positions, size in zip(cut, full.shape, strict=True) if not isinstance(positions, Tensor))
    for places in itertools.product(*runs):
        full[tuple(theirs for theirs, _ in places)] = block[tuple(mine for _, mine in places)]


def block_of(full: Tensor, cut: Cut) -> Tensor:
    """As `cut_out`, without a gradient: a view where it is one run along each axis, else a copy."""
    block = full
    for axis, positions in enumerate(cut):
        if isinstance(positions, slice):
            block = block[(slice(None),) * axis + (positions,)]
        elif isinstance(positions, Tensor):
            block = block.index_select(axis, positions)
        else:
            block = torch.cat([block[(slice(None),) * axis + (run,)] for run in positions], dim=axis)
    return block


def is_view(cut: Cut) -> bool:
    """Whether `block_of` shares the memory of the full parameter."""
    return all(isinstance(positions, slice) for positions in cut)


class _CutOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor, cut: Cut) -> Tensor:
        ctx.cut, ctx.size = cut, parameter.shape
        return block_of(parameter, cut)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        full = gradient.new_zeros(ctx.size)
        put_back(full, ctx.cut, gradient)
        return full, None


def _runs(positions: Tensor, device: torch.device) -> slice | list[slice] | Tensor:
    if not len(positions):
        return slice(0, 0)
    ends = (positions.diff() != 1).nonzero().squeeze(1).add_(1).tolist()
    if len(ends) >= MAX_RUNS:
        return positions.to(device)
    edges = [0, *ends, len(positions)]
    firsts = positions[edges[:-1]].tolist()
    runs = [slice(first, first + end - start) for first, (start, end) in zip(firsts, itertools.pairwise(edges), strict=True)]
    return runs[0] if len(runs) == 1 else runs


def _pairs(positions: slice | list[slice], size: int) -> list[tuple[slice, slice]]:
    """Each run's place in the full parameter, and in the block."""
    pairs, start = [], 0
    for run in [positions] if isinstance(positions, slice) else positions:
        length = len(range(*run.indices(size)))
        pairs.append((run, slice(start, start + length)))
        start += length
    return pairs


def _positions(positions: slice | list[slice] | Tensor, size: int, device: torch.device) -> Tensor:
    if isinstance(positions, Tensor):
        return positions
    runs = [positions] if isinstance(positions, slice) else positions
    return torch.cat([torch.arange(*run.indices(size), device=device) for run in runs])


def _is_whole(positions: slice, size: int) -> bool:
    return positions.indices(size) == (0, size, 1)
