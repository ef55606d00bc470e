"""The dense half's Adam, with its state made at once, so that a checkpoint has one shape at every step; and its gradients'
average over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def adam(parameters: Iterable[nn.Parameter], learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Adam:
    """Adam (Kingma and Ba, 2015) with zero moments already in place."""
    optimizer = torch.optim.Adam(list(parameters), lr=learning_rate, betas=betas, fused=True)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            zeros = {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
            optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device)} | zeros
    return optimizer


def state_by_name(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Any]:
    """The optimizer's own tensors under `<parameter>.<state>`; loading into them in place restores it."""
    return {f"{names[parameter]}.{key}": value for parameter, state in optimizer.state.items() for key, value in state.items()}


def average_gradients(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Average the gradients of the active parameters over all ranks, in one flat all-reduce.

    Instead of DistributedDataParallel, whose buckets and hooks cost more than the whole exchange for networks this small
    and assume that the same parameters are active in every step. Ranks must agree on which are.
    """
    if dist.get_world_size() == 1:
        return
    parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    flat = torch.cat([p.grad.view(-1) for p in parameters])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)
