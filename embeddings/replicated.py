"""The optimizers of data-parallel tables: those with the arithmetic of fbgemm's fused ones, and Adam over whole tables.

TorchRec trains a data-parallel table by an ordinary gradient of the whole table and ignores the fused optimizer; left alone,
such tables would not learn, or learn by other rules than their neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from embeddings.config import EmbeddingConfig


def replicated_optimizer(tables: Iterable[Tensor], config: EmbeddingConfig) -> torch.optim.Optimizer:
    """The optimizer that the config names, over whole tables `[rows, dim]`."""
    return ReplicatedAdam(tables, config) if config.optimizer == "adam" else ReplicatedOptimizer(tables, config)


class ReplicatedAdam(torch.optim.Adam):
    """Adam (Kingma and Ba, 2015) on whole tables, rows that were not looked up among them, under an L2 penalty on all rows.

    What small published benchmarks train by (BARS: Zhu et al., 2022). A fused optimizer leaves rows alone that a batch does not
    hold; here their moments go on, and the penalty pulls them to zero.
    """

    def __init__(self, tables: Iterable[Tensor], config: EmbeddingConfig) -> None:
        super().__init__(list(tables), lr=config.learning_rate, eps=config.eps, weight_decay=config.weight_decay, fused=True)
        for group in self.param_groups:
            for table in group["params"]:
                zeros = {"exp_avg": torch.zeros_like(table), "exp_avg_sq": torch.zeros_like(table)}
                self.state[table] = {"step": torch.zeros((), device=table.device)} | zeros

    def zero_grad(self, set_to_none: bool = True) -> None:
        _clear_gradients(self)


class ReplicatedOptimizer(torch.optim.Optimizer):
    """SGD, Adagrad or row-wise Adagrad on whole tables `[rows, dim]`, whose gradients are already averaged over the ranks.

    State is `momentum1`: `[rows]` (row-wise) or `[rows, dim]`, float32.
    """

    def __init__(self, tables: Iterable[Tensor], config: EmbeddingConfig) -> None:
        super().__init__(tables, {"lr": config.learning_rate, "eps": config.eps})
        self._rowwise = config.optimizer == "rowwise_adagrad"
        if config.optimizer != "sgd":
            for table in self._tables():
                shape = table.shape[:1] if self._rowwise else table.shape
                self.state[table] = {"momentum1": torch.zeros(shape, dtype=torch.float32, device=table.device)}

    def zero_grad(self, set_to_none: bool = True) -> None:
        _clear_gradients(self)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group)

    def _update(self, table: Tensor, group: dict[str, Any]) -> None:
        gradient, state = table.grad, self.state[table]
        assert gradient is not None
        if not state:
            table.sub_(gradient, alpha=group["lr"])
            return
        sums = state["momentum1"]
        sums.add_(gradient.square().mean(dim=1) if self._rowwise else gradient.square())
        root = sums.sqrt().add_(group["eps"])
        table.sub_(gradient / (root[:, None] if self._rowwise else root), alpha=group["lr"])

    def _tables(self) -> list[Tensor]:
        return [table for group in self.param_groups for table in group["params"]]


def _clear_gradients(optimizer: torch.optim.Optimizer) -> None:
    """The gradients are slices of one tensor, which cannot be taken away from a single table."""
    for group in optimizer.param_groups:
        for table in group["params"]:
            if table.grad is not None:
                table.grad.zero_()
