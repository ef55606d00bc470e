"""All optimizers of a training job as one: the dense half's Adam and the tables' fused one, their rates, the average of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.optim.keyed import CombinedOptimizer

TABLES = "tables"


def adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.Adam:
    """Adam (Kingma and Ba, 2015) with zero moments already in place, so that a checkpoint has one shape at every step."""
    optimizer = torch.optim.Adam(list(parameters), lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            zeros = {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
            optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device)} | zeros
    return optimizer


@dataclass(frozen=True)
class Clipping:
    """The largest norm of all gradients together: of the dense half and of those tables whose gradients are whole (`tables`).

    A fused optimizer updates its tables within the backward pass: there is nothing left to clip.
    """

    norm: float
    tables: tuple[Tensor, ...] = ()


class JobOptimizer:
    """Steps the dense half's optimizers, by name, and that of the tables together.

    `factor` gives what all rates are multiplied by in the coming step. `before_update` runs between the backward pass and
    the update. A fused optimizer updates its tables in the backward pass, by the rate that its last `zero_grad` or `step`
    took over: hence rates are set before gradients are cleared.
    """

    def __init__(
        self,
        dense: Mapping[str, torch.optim.Optimizer],
        tables: CombinedOptimizer,
        factor: Callable[[], float],
        before_update: Callable[[], None],
        clipping: Clipping | None = None,
    ) -> None:
        self.dense = dense
        self.tables = tables
        self._clipping = clipping
        self._factor = factor
        self._before_update = before_update
        self._optimizers: list[Any] = [*dense.values(), tables]
        self._full_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._optimizers]

    def zero_grad(self) -> None:
        factor = self._factor()
        for optimizer, rates in zip(self._optimizers, self._full_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.zero_grad()

    def rates(self) -> dict[str, float]:
        """The learning rate of the first group of each optimizer in the last step, by name."""
        return {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in {**self.dense, TABLES: self.tables}.items()}

    def step(self) -> None:
        average_gradients(self.dense.values())
        self._before_update()
        if self._clipping is not None:
            self._clip(self._clipping)
        for optimizer in self._optimizers:
            optimizer.step()

    def _clip(self, clipping: Clipping) -> None:
        weights = [p for optimizer in self.dense.values() for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_([*weights, *clipping.tables], clipping.norm)

    def tensors(self, names: Mapping[Tensor, str]) -> dict[str, Any]:
        """Every tensor of state by name: `tables.<table>.<state>` and `<optimizer>.<parameter>.<state>`."""
        tensors: dict[str, Any] = {}
        for parameter, states in self.tables.state_dict()["state"].items():
            # the same name whether fbgemm's fused optimizer holds it, which puts the table's into it, or the replicated one
            table = parameter.split(".")[-2]
            tensors |= {f"{TABLES}.{table}.{name.rpartition('.')[2]}": value for name, value in states.items()}
        for kind, optimizer in self.dense.items():
            for parameter, states in optimizer.state.items():
                tensors |= {f"{kind}.{names[parameter]}.{name}": value for name, value in states.items()}
        return tensors


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
