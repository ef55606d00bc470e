"""Figures of quality against scikit-learn, ties, constants and certainty included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from recsys_nas.training.metrics import auc, calibration_bins, log_loss, normalised_entropy, quality


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_auc_equals_sklearn_with_many_ties(rows: list[tuple[int, bool]]) -> None:
    scores, labels = torch.tensor([score / 7 for score, _ in rows]), torch.tensor([float(label) for _, label in rows])
    if len({label for _, label in rows}) == 1:
        assert math.isnan(auc(scores, labels))
    else:
        assert auc(scores, labels) == pytest.approx(roc_auc_score(labels.numpy(), scores.numpy()), abs=1e-12)


def test_constant_predictions_have_an_auc_of_one_half() -> None:
    assert auc(torch.full((10,), 0.3), torch.tensor([0.0, 1.0] * 5)) == 0.5


def test_auc_of_a_million_rows_equals_sklearn() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(1_000_000).round(4)
    labels = (generator.random(1_000_000) < scores).astype(np.float64)
    assert auc(torch.from_numpy(scores), torch.from_numpy(labels)) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_log_loss_equals_sklearn_and_survives_certainty() -> None:
    p, y = torch.tensor([0.1, 0.7, 0.4, 0.9], dtype=torch.float64), torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    assert log_loss(p, y) == pytest.approx(sklearn_log_loss(y, p))
    assert math.isfinite(log_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])))


def test_predicting_the_click_rate_has_a_normalised_entropy_of_one() -> None:
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0])
    judged = quality(torch.full((4,), 0.25), labels)
    assert judged.ne == pytest.approx(1.0)
    assert judged.calibration == pytest.approx(1.0)
    assert (judged.rows, judged.positives) == (4, 1)
    assert math.isnan(normalised_entropy(0.5, 0.0))


def test_calibration_bins_group_neighbouring_predictions() -> None:
    bins = calibration_bins(torch.tensor([0.9, 0.1, 0.2, 0.8]), torch.tensor([1.0, 0.0, 1.0, 1.0]), bins=2)
    assert [(round(b.predicted, 6), b.observed, b.rows) for b in bins] == [(0.15, 0.5, 2), (0.85, 1.0, 2)]
