"""The best possible figures, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from data_prep.bayes import auc, best_by_order, log_loss, sigmoid


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), max_size=30))
def test_auc_and_log_loss_are_scikit_learns_with_ties(rows: list[tuple[bool, int]]) -> None:
    rows += [(False, 0), (True, 1)]
    label, score = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score))
    assert log_loss(label, sigmoid(score)) == pytest.approx(sklearn_log_loss(label, sigmoid(score)))


def test_a_partial_truth_ranks_as_it_stands_and_is_calibrated_for_its_log_loss() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 40_000))
    logits = np.stack([first, first + 2 * second])
    label = rng.random(40_000) < sigmoid(logits[-1])
    best = best_by_order(label, logits)
    assert best["1"]["auc"] == pytest.approx(roc_auc_score(label, first), abs=1e-6)
    assert best["2"] == {
        "auc": pytest.approx(roc_auc_score(label, logits[1]), abs=1e-6),
        "logloss": pytest.approx(sklearn_log_loss(label, sigmoid(logits[1])), abs=1e-6),
    }
    assert best["2"]["logloss"] < best["1"]["logloss"] < sklearn_log_loss(label, sigmoid(first)) - 0.01
