"""Log loss, normalised entropy and calibration against scikit-learn and arithmetic; their intervals against repeated sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss as sklearn_log_loss

from recsys_nas.training.metrics import normalised_entropy, paired_difference, quality


def test_log_loss_equals_sklearn_and_survives_certainty() -> None:
    p, y = torch.tensor([0.1, 0.7, 0.4, 0.9], dtype=torch.float64), torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    assert quality(p, y).logloss == pytest.approx(sklearn_log_loss(y, p))
    assert math.isfinite(quality(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])).logloss)


def test_predicting_the_click_rate_has_a_normalised_entropy_of_one() -> None:
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0])
    judged = quality(torch.full((4,), 0.25), labels)
    assert judged.ne == pytest.approx(1.0)
    assert judged.calibration == pytest.approx(1.0)
    assert (judged.rows, judged.positives) == (4, 1)
    assert math.isnan(normalised_entropy(0.5, 0.0))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_rows_of_one_class_have_no_auc_and_no_interval_of_it(label: float) -> None:
    judged = quality(torch.tensor([0.2, 0.4, 0.4]), torch.full((3,), label))
    assert math.isnan(judged.auc)
    assert math.isnan(judged.ne)
    assert (judged.auc_row_ci95, judged.ne_row_ci95) == (None, None)
    assert judged.logloss_row_ci95 is not None


def test_one_row_has_no_interval() -> None:
    judged = quality(torch.tensor([0.2]), torch.tensor([1.0]))
    assert judged.logloss == pytest.approx(-math.log(0.2))
    assert (judged.logloss_row_ci95, judged.calibration_row_ci95, judged.auc_row_ci95) == (None, None, None)


def test_the_interval_of_log_loss_is_that_of_a_mean() -> None:
    p, y = torch.tensor([0.1, 0.7, 0.4, 0.9]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    losses = torch.nn.functional.binary_cross_entropy(p, y, reduction="none")
    assert quality(p, y).logloss_row_ci95 == pytest.approx(1.959963985 * float(losses.std()) / 2, rel=1e-6)


def test_intervals_are_as_wide_as_repeated_sampling_says() -> None:
    """Of 400 test sets of 500 rows, drawn anew each time: the spread of each figure is what its interval claims."""
    generator = np.random.default_rng(3)
    judged, compared = [], []
    for _ in range(400):
        logits = generator.normal(-1.0, 1.0, 500)
        labels = torch.from_numpy(generator.random(500) < 1 / (1 + np.exp(-logits)))
        good, other = (torch.sigmoid(torch.from_numpy(1.2 * logits + generator.normal(0, noise, 500))) for noise in (0.3, 0.6))
        judged.append(quality(good, labels))
        compared.append(paired_difference(good, other, labels))
    for rows, name in [(judged, n) for n in ("auc", "logloss", "ne", "calibration")] + [(compared, n) for n in ("auc", "logloss", "ne")]:
        spread = 1.959963985 * np.std([getattr(row, name) for row in rows], ddof=1)
        claimed = np.mean([getattr(row, f"{name}_row_ci95") for row in rows])
        assert claimed == pytest.approx(spread, rel=0.1), name


def test_a_model_compared_with_itself_differs_by_nothing() -> None:
    p, y = torch.tensor([0.1, 0.7, 0.4, 0.9]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert set(vars(paired_difference(p, p, y)).values()) == {0.0}
