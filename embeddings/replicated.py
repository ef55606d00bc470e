"""The optimizer of data-parallel tables, with the arithmetic of fbgemm's fused ones.

TorchRec trains a data-parallel table by an ordinary gradient of the whole table and ignores the fused optimizer; left alone,
such tables would not learn, or learn by other rules than their neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from embeddings.config import EmbeddingConfig


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
        # The gradients are slices of one tensor, which cannot be taken away from a single table.
        for table in self._tables():
            if table.grad is not None:
                table.grad.zero_()

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
