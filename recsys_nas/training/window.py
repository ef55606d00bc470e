"""What a job saw since its last record, and the quality of its latest predictions, each made before its row was learnt from."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recsys_nas.training.metrics import RunningLoss, quality

PROGRESSIVE_ROWS = 1 << 17
"""Over how many of the latest rows AUC, NE and calibration are taken; fewer at the beginning."""
_MB = 1e6


@dataclass
class Window(RunningLoss):
    """What was seen since the last record: rows and loss of all ranks, seconds this rank waited for data, and gradients' norms.

    `gradient_norms`: by optimizer, of one step of the window, `[]` tensors.
    """

    began: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    gradient_norms: Mapping[str, Tensor] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Rows a second, the share of time spent waiting for data, and memory, by name."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        return {"rows_per_second": self.rows / elapsed, "data_wait_share": min(self.waited / elapsed, 1.0), **memory_mb()}


class Progressive:
    """The latest `PROGRESSIVE_ROWS` predictions of this rank with their labels: progressive validation, where no row is held out.

    On several ranks these are the first rank's rows, an even share of each step's.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[Tensor, Tensor]] = deque()
        self._rows = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Remember logits and labels `[B]`, made before the step learnt from them."""
        self._seen.append((logits.detach().float(), labels))
        self._rows += len(labels)
        while self._rows - len(self._seen[0][1]) >= PROGRESSIVE_ROWS:
            self._rows -= len(self._seen.popleft()[1])

    def figures(self) -> dict[str, float]:
        """`auc`, `ne` and `calibration`; without those that rows of one class have none of."""
        if not self._seen:
            return {}
        logits, labels = (torch.cat(columns).cpu() for columns in zip(*self._seen, strict=True))
        judged = quality(torch.sigmoid(logits), labels)
        figures = {"auc": judged.auc, "ne": judged.ne, "calibration": judged.calibration}
        return {name: value for name, value in figures.items() if math.isfinite(value)}


def gradient_norms(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The 2-norm of all gradients of each optimizer, by its name; without those that have none in this step."""
    norms = {}
    for name, optimizer in optimizers.items():
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients:
            norms[name] = torch.nn.utils.get_total_norm(gradients)
    return norms


def memory_mb() -> dict[str, float]:
    """The most memory this process has taken so far, in megabytes (10^6 bytes), on the host and on its GPU if it has one."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    host = kibibytes * (1 if sys.platform == "darwin" else 1024) / _MB
    device = {"device_memory_mb": torch.cuda.max_memory_allocated() / _MB} if torch.cuda.is_initialized() else {}
    return {"host_memory_mb": host, **device}
