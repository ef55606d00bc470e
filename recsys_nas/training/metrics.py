"""How good predictions are: AUC that is right on ties, log loss, normalised entropy, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Quality:
    """Figures of one evaluation. `ne`: log loss over the entropy of the click rate (He et al., 2014); `calibration`:
    predicted clicks over observed ones."""

    auc: float
    logloss: float
    ne: float
    calibration: float
    rows: int
    positives: int


def quality(probabilities: Tensor, labels: Tensor) -> Quality:
    """Figures of predictions `[R]` in (0, 1) against labels `[R]` of 0 and 1. AUC and NE are NaN when only one class is there."""
    p, y = probabilities.double(), labels.double()
    loss = log_loss(p, y)
    positives = int(y.sum())
    return Quality(
        auc=auc(p, y),
        logloss=loss,
        ne=normalised_entropy(loss, positives / len(y)),
        calibration=float(p.sum() / y.sum()) if positives else float("nan"),
        rows=len(y),
        positives=positives,
    )


def log_loss(probabilities: Tensor, labels: Tensor) -> float:
    """Mean negative log likelihood, probabilities kept 1e-15 away from 0 and 1."""
    p, labels = probabilities.double().clamp(1e-15, 1 - 1e-15), labels.double()
    return float(-(labels * p.log() + (1 - labels) * (1 - p).log()).mean())


def normalised_entropy(loss: float, click_rate: float) -> float:
    """Log loss over that of always predicting the click rate (He et al., 2014, section 2); NaN when only one class is there."""
    if not 0 < click_rate < 1:
        return float("nan")
    return loss / -(click_rate * math.log(click_rate) + (1 - click_rate) * math.log(1 - click_rate))


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve as the rank statistic, a tie counted half (Hanley and McNeil, 1982)."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, group, counts = torch.unique(scores, sorted=True, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    mean_rank = last - (counts.double() - 1) / 2
    rank_sum = float(mean_rank[group][labels.bool()].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


@dataclass
class RunningLoss:
    """Sums over rows seen so far, each scored before it was learnt from."""

    rows: int = 0
    loss_sum: float = 0.0
    positives: float = 0.0

    def add(self, rows: int, loss: float, click_rate: float) -> None:
        """Count `rows` rows with this mean loss and click rate."""
        self.rows += rows
        self.loss_sum += loss * rows
        self.positives += click_rate * rows

    @property
    def mean_loss(self) -> float:
        return self.loss_sum / self.rows

    @property
    def mean_ne(self) -> float:
        return normalised_entropy(self.mean_loss, self.positives / self.rows)


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with neighbouring predictions: their mean prediction and their click rate."""

    predicted: float
    observed: float
    rows: int


def calibration_bins(probabilities: Tensor, labels: Tensor, bins: int = 20) -> list[CalibrationBin]:
    """Predictions in order, cut into `bins` groups of equal size."""
    order = probabilities.argsort(stable=True)
    groups = zip(probabilities[order].tensor_split(bins), labels[order].tensor_split(bins), strict=True)
    return [CalibrationBin(float(p.mean()), float(y.mean()), len(p)) for p, y in groups if len(p)]


def gather_rows(values: Tensor) -> Tensor:
    """The rows of all ranks, on every rank, rank by rank; `[R_rank]` -> `[sum of R_rank]`."""
    if dist.get_world_size() == 1:
        return values
    gathered: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, values.cpu())
    return torch.cat([part for part in gathered if part is not None])
