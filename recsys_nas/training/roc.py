"""The ROC curve of predictions as counts that any number of ranks can add up: exact on ties, with DeLong's intervals.

All that AUC, log loss and calibration need of a set of rows is how many clicks and non-clicks each distinct prediction
has. Ranks count their own rows and merge the counts; sums run over integers in the order of the predictions, so every
split over ranks gives the same bits. One sort of packed 32-bit keys does the work (docs/log.md has the timings).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

Counts = NDArray[np.int64]
Gather = Callable[[NDArray[Any]], list[NDArray[Any]]]
"""From this rank's one-dimensional array to those of all ranks, in order of ranks."""


@dataclass(frozen=True)
class Roc:
    """Distinct predictions `[G]` float64 in rising order, and the positives and negatives `[G]` that each has."""

    scores: NDArray[np.float64]
    positives: Counts
    negatives: Counts

    @staticmethod
    def of(probabilities: Tensor, labels: Tensor) -> Roc:
        """Count rows: predictions `[R]` (float32 or float64) in [0, 1] against labels `[R]` of 0 and 1; R may be 0.

        Raises ValueError for a prediction that is NaN or outside [0, 1] (a diverged model gives them).
        """
        keys = _sorted_keys(probabilities, labels)
        starts = np.flatnonzero(np.diff(keys >> 1, prepend=-1))
        ends = np.append(starts[1:], len(keys))[: len(starts)]
        clicks = np.concatenate([[0], np.cumsum(keys & 1, dtype=np.int64)])
        positives = clicks[ends] - clicks[starts]
        floats = np.float32 if keys.dtype == np.int32 else np.float64
        return Roc((keys[starts] >> 1).view(floats).astype(np.float64), positives, ends - starts - positives)

    @staticmethod
    def merge(parts: Sequence[Roc]) -> Roc:
        """The curve of all rows together."""
        if len(parts) == 1:
            return parts[0]
        scores = np.concatenate([part.scores for part in parts])
        order = scores.argsort(kind="stable")  # numpy's stable sort merges runs that are sorted already
        scores = scores[order]
        starts = np.flatnonzero(np.diff(scores, prepend=-1.0))
        added = [np.concatenate([getattr(part, name) for part in parts])[order] for name in ("positives", "negatives")]
        positives, negatives = (np.add.reduceat(counts, starts) if len(starts) else counts for counts in added)
        return Roc(scores[starts], positives, negatives)

    def over_ranks(self, gather: Gather | None = None) -> Roc:
        """The curve of the rows of all ranks, on every rank. Every rank must call it, one without rows too."""
        gather = gather or all_gather
        columns = [gather(column) for column in (self.scores, self.positives, self.negatives)]
        return Roc.merge([Roc(*part) for part in zip(*columns, strict=True)])

    @property
    def num_positives(self) -> int:
        return int(self.positives.sum())

    @property
    def num_negatives(self) -> int:
        return int(self.negatives.sum())

    @property
    def rows(self) -> int:
        return self.num_positives + self.num_negatives

    def placements(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """DeLong's structural components by distinct prediction `[G]`, a tie counted half: of a positive there, the share of
        negatives below it (V10); of a negative there, the share of positives above it (V01)."""
        negatives_below = (2 * np.cumsum(self.negatives) - self.negatives) / (2 * max(self.num_negatives, 1))
        positives_below = (2 * np.cumsum(self.positives) - self.positives) / (2 * max(self.num_positives, 1))
        return negatives_below, 1 - positives_below


def auc(roc: Roc) -> float:
    """Area under the curve as the rank statistic, a tie counted half (Hanley and McNeil, 1982); NaN when only one class is there.

    The pairs are counted in integers: exact up to four billion rows.
    """
    if not roc.num_positives or not roc.num_negatives:
        return float("nan")
    twice_negatives_below = 2 * np.cumsum(roc.negatives) - roc.negatives
    return int((roc.positives * twice_negatives_below).sum()) / (2 * roc.num_positives * roc.num_negatives)


def auc_standard_error(roc: Roc) -> float:
    """Standard error of the AUC under sampling of rows (DeLong et al., 1988), ties included, in O(G) (the mid-ranks of
    Sun and Xu, 2014, are sums of the counts). NaN with fewer than two positives or two negatives."""
    if min(roc.num_positives, roc.num_negatives) < 2:
        return float("nan")
    area = auc(roc)
    of_positives, of_negatives = roc.placements()
    spread = (roc.positives * (of_positives - area) ** 2).sum() / (roc.num_positives - 1)
    other = (roc.negatives * (of_negatives - area) ** 2).sum() / (roc.num_negatives - 1)
    return float(np.sqrt(spread / roc.num_positives + other / roc.num_negatives))


def all_gather(values: NDArray[Any]) -> list[NDArray[Any]]:
    """The one-dimensional array of each rank, in order of ranks, lengths may differ; alone where there is no process group."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [values]
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    length = torch.tensor([len(values)], device=device)
    lengths = [torch.empty_like(length) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, length)
    sizes = [int(size) for size in lengths]
    padded = torch.zeros(max(sizes), dtype=torch.from_numpy(values[:0].copy()).dtype, device=device)
    padded[: len(values)] = torch.from_numpy(values)
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return [part[:size].cpu().numpy() for part, size in zip(gathered, sizes, strict=True)]


def _sorted_keys(probabilities: Tensor, labels: Tensor) -> NDArray[Any]:
    """Each row as one integer (int32 or int64), the bits of its prediction with its label behind them, sorted.

    The bits of floats in [0, 2) rise with the floats and leave one bit free, for which the sign (of a negative zero) makes way.
    """
    p = probabilities.detach().cpu().numpy()
    if p.dtype not in (np.float32, np.float64):
        p = p.astype(np.float32)
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        raise ValueError(f"{int(wrong.sum())} of {len(p)} predictions are no probabilities, the first {p[wrong][0]}: did training diverge?")
    bits: NDArray[Any] = p.view(np.int32 if p.dtype == np.float32 else np.int64)
    keys: NDArray[Any] = (bits << 1) | labels.detach().cpu().numpy().astype(bool)
    keys.sort()
    return keys
