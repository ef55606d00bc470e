"""How well the best possible model does on a synthetic day, from the true chances of a click and the labels drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auc(label: NDArray[np.bool_], score: Floats) -> float:
    """Area under the ROC curve, ties counted half; label [R], score [R]. Both classes must be there."""
    _, inverse, count = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    positives = int(label.sum())
    rank_sum = float(mean_rank[inverse[label]].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (len(label) - positives))


def log_loss(label: NDArray[np.bool_], chance: Floats) -> float:
    """Mean negative log likelihood in nats; label [R], chance [R] strictly between 0 and 1."""
    return float(-np.log(np.where(label, chance, 1 - chance)).mean())


def sigmoid(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-logit))


def best_by_order(label: NDArray[np.bool_], logits: Floats) -> dict[str, dict[str, float]]:
    """AUC and log loss within reach when only the effects up to an order are known: `{"1": {"auc", "logloss"}, ...}`.

    label [R]; logits [orders, R], the last row being the full truth. A partial logit ranks rows as it stands; for its
    log loss it is first mapped to the mean true chance of the rows around it.
    """
    chance = sigmoid(logits[-1])
    figures = {}
    for order, logit in enumerate(logits, start=1):
        known = chance if order == len(logits) else _neighbourhood_mean(logit, chance)
        figures[str(order)] = {"auc": round(auc(label, logit), 6), "logloss": round(log_loss(label, known), 6)}
    return figures


def _neighbourhood_mean(logit: Floats, chance: Floats) -> Floats:
    """The mean of `chance` over the rows closest in `logit`, in up to 1000 groups of equal size."""
    groups = min(1000, max(1, len(logit) // 200))
    calibrated = np.empty_like(chance)
    for group in np.array_split(np.argsort(logit, kind="stable"), groups):
        calibrated[group] = chance[group].mean()
    return calibrated
