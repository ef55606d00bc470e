"""How good predictions are: AUC that is right on ties, log loss, normalised entropy, calibration; each with the interval that
sampling of the rows leaves, and the differences of two models on the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys_nas.training.roc import Gather, Roc, all_gather, auc, auc_standard_error

Z95 = 1.959963985
"""Half-width of a 95 % interval in standard errors, under a normal distribution."""


@dataclass(frozen=True)
class Quality:
    """Figures of one evaluation. `ne`: log loss over the entropy of the click rate (He et al., 2014); `calibration`:
    predicted clicks over observed ones.

    `*_row_ci95`: half-width of the 95 % interval of that figure over test sets of this size, for this one trained model
    (what another seed of training would change is not in it). None where the rows are too few or of one class.
    """

    auc: float
    logloss: float
    ne: float
    calibration: float
    rows: int
    positives: int
    auc_row_ci95: float | None
    logloss_row_ci95: float | None
    ne_row_ci95: float | None
    calibration_row_ci95: float | None


@dataclass(frozen=True)
class PairedDifference:
    """First minus second model on the same rows, each with the half-width of its 95 % interval under sampling of the rows."""

    auc: float
    auc_row_ci95: float | None
    logloss: float
    logloss_row_ci95: float | None
    ne: float
    ne_row_ci95: float | None


def quality(probabilities: Tensor, labels: Tensor) -> Quality:
    """Figures of predictions `[R]` in [0, 1] against labels `[R]` of 0 and 1. AUC and NE are NaN when only one class is there."""
    return judge(Roc.of(probabilities, labels))


def judge(roc: Roc) -> Quality:
    """Figures of rows already counted, of one rank (`Roc.of`) or of all (`Roc.over_ranks`). Raises ValueError when there are none."""
    loss, rate = mean_log_loss(roc), roc.num_positives / roc.rows
    calibration = float(roc.scores @ (roc.positives + roc.negatives)) / roc.num_positives if roc.num_positives else float("nan")
    of_click, of_none = _row_losses(roc.scores)
    influence = calibration / rate if rate else float("nan")
    return Quality(
        auc=auc(roc),
        logloss=loss,
        ne=normalised_entropy(loss, rate),
        calibration=calibration,
        rows=roc.rows,
        positives=roc.num_positives,
        auc_row_ci95=_half_width(auc_standard_error(roc)),
        logloss_row_ci95=_half_width(_standard_error(roc, of_click - loss, of_none - loss)),
        ne_row_ci95=_half_width(_standard_error(roc, *_ne_influence(of_click, of_none, loss, rate))),
        calibration_row_ci95=_half_width(_standard_error(roc, roc.scores / rate - influence, roc.scores / rate)) if rate else None,
    )


def paired_difference(first: Tensor, second: Tensor, labels: Tensor, gather: Gather = all_gather) -> PairedDifference:
    """Compare two models' predictions `[R]` of the same rows of this rank with labels `[R]`; every rank must call it.

    The AUC's interval is DeLong's (1988) for correlated curves, from the per-row differences of the structural components;
    those of log loss and NE are normal ones over rows (NE by the delta method, since its click rate is sampled too).
    """
    rocs = [Roc.of(scores, labels).over_ranks(gather) for scores in (first, second)]
    areas, losses = [auc(roc) for roc in rocs], [mean_log_loss(roc) for roc in rocs]
    by_auc, by_loss, rate = areas[0] - areas[1], losses[0] - losses[1], rocs[0].num_positives / rocs[0].rows
    clicked = labels.detach().cpu().numpy().astype(bool)
    rows = [_by_row(roc, scores, clicked) for roc, scores in zip(rocs, (first, second), strict=True)]
    component, loss = rows[0][0] - rows[1][0], rows[0][1] - rows[1][1]
    in_ne = np.where(clicked, *_ne_influence(loss, loss, by_loss, rate))
    squares = [(component - by_auc)[clicked], (component - by_auc)[~clicked], loss - by_loss, in_ne]
    total = np.sum(gather(np.asarray([float(values @ values) for values in squares])), axis=0)
    positives, negatives, every = rocs[0].num_positives, rocs[0].num_negatives, rocs[0].rows
    of_positives, of_negatives = _mean_error(total[0], positives), _mean_error(total[1], negatives)
    return PairedDifference(
        auc=by_auc,
        auc_row_ci95=_half_width(math.hypot(of_positives, of_negatives)),
        logloss=by_loss,
        logloss_row_ci95=_half_width(_mean_error(total[2], every)),
        ne=normalised_entropy(by_loss, rate),
        ne_row_ci95=_half_width(_mean_error(total[3], every)),
    )


def mean_log_loss(roc: Roc) -> float:
    """Mean negative log likelihood of the rows, predictions kept 1e-15 away from 0 and 1. Raises ValueError when there are no rows."""
    if not roc.rows:
        raise ValueError("there are no rows to judge a model on; do the days under test hold any?")
    of_click, of_none = _row_losses(roc.scores)
    return float(roc.positives @ of_click + roc.negatives @ of_none) / roc.rows


def normalised_entropy(loss: float, click_rate: float) -> float:
    """Log loss over that of always predicting the click rate (He et al., 2014, section 2); NaN when only one class is there."""
    return loss / _entropy(click_rate) if 0 < click_rate < 1 else float("nan")


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
    def mean_ne(self) -> float | None:
        """None where all rows are of one class, as the first few of rare clicks often are."""
        ne = normalised_entropy(self.mean_loss, self.positives / self.rows)
        return None if math.isnan(ne) else ne


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with neighbouring predictions: their mean prediction and their click rate."""

    predicted: float
    observed: float
    rows: int


def calibration_bins(roc: Roc, bins: int = 20) -> list[CalibrationBin]:
    """Rows in order of their predictions, cut into `bins` groups of equal size; rows that tie across a cut are shared out evenly."""
    counts = roc.positives + roc.negatives
    edges = np.linspace(0, roc.rows, bins + 1).round()
    ends = np.concatenate([[0], counts.cumsum()])
    sums = (np.concatenate([[0], values.cumsum()]) for values in (roc.scores * counts, roc.positives))
    predicted, clicks = (np.diff(np.interp(edges, ends, values)) for values in sums)
    groups = zip(predicted, clicks, np.diff(edges), strict=True)
    return [CalibrationBin(float(p / rows), float(y / rows), int(rows)) for p, y, rows in groups if rows]


def gather_rows(values: Tensor) -> Tensor:
    """The rows of all ranks, on every rank, rank by rank; `[R_rank]` -> `[sum of R_rank]`, on the CPU where there are several ranks."""
    parts = all_gather(values.cpu().numpy())
    return values if len(parts) == 1 else torch.from_numpy(np.concatenate(parts))


def _row_losses(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log loss of a click, and of none, at each prediction."""
    p = scores.clip(1e-15, 1 - 1e-15)
    return -np.log(p), -np.log1p(-p)


def _by_row(roc: Roc, scores: Tensor, clicked: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """DeLong's structural component of each row, and its log loss, both `[R]`."""
    place = roc.scores.searchsorted(scores.detach().cpu().double().numpy())
    pairs = zip(roc.placements(), _row_losses(roc.scores), strict=True)
    (of_click, loss_of_click), (of_none, loss_of_none) = pairs
    return np.where(clicked, of_click[place], of_none[place]), np.where(clicked, loss_of_click[place], loss_of_none[place])


def _entropy(rate: float) -> float:
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def _ne_influence(
    of_click: NDArray[np.float64], of_none: NDArray[np.float64], loss: float, rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a click and a non-click of these losses move the NE by, times the number of rows: the derivative of loss / entropy(rate)."""
    if not 0 < rate < 1:
        return np.full_like(of_click, np.nan), np.full_like(of_none, np.nan)
    entropy = _entropy(rate)
    slope = loss * math.log((1 - rate) / rate) / entropy**2
    return (of_click - loss) / entropy - slope * (1 - rate), (of_none - loss) / entropy + slope * rate


def _standard_error(roc: Roc, of_click: NDArray[np.float64], of_none: NDArray[np.float64]) -> float:
    """Of a mean over rows, from each row's deviation at each distinct prediction."""
    return _mean_error(float(roc.positives @ of_click**2 + roc.negatives @ of_none**2), roc.rows)


def _mean_error(squares: float, rows: int) -> float:
    """Standard error of a mean of `rows` values from the sum of their squared deviations; NaN below two rows."""
    return math.sqrt(squares / (rows - 1) / rows) if rows > 1 else float("nan")


def _half_width(standard_error: float) -> float | None:
    return Z95 * standard_error if math.isfinite(standard_error) else None
