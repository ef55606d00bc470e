"""The rule of validation, against the log of a published run, and its corners."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_nas.training.early_stopping import EarlyStopping

BARS = EarlyStopping(patience=2, lr_cut=0.1)


def history(*aucs: float) -> list[dict[str, float]]:
    return [{"auc": auc, "logloss": 1 - auc} for auc in aucs]


def test_bars_rule_as_in_its_log_of_dcnv2_on_frappe() -> None:
    # Epochs 8 to 19 of DCNv2_frappe_x1_007_c207b717: a dip at 11 cuts to 1e-4; two misses in a row, at 18 and 19, end it.
    aucs = [0.979057, 0.979650, 0.979855, 0.977224, 0.982924, 0.983878, 0.984304, 0.984540, 0.984724, 0.984840, 0.984678, 0.984766]
    factors = [BARS.factor(history(*aucs[:n])) for n in range(1, 13)]
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.001])
    assert [BARS.stops(history(*aucs[:n])) for n in range(1, 13)] == [False] * 11 + [True]
    assert [BARS.is_best(history(*aucs[:n])) for n in range(1, 13)] == [True] * 3 + [False] + [True] * 6 + [False] * 2


def test_the_epoch_that_the_model_goes_back_to() -> None:
    assert BARS.best_of(history(0.5, 0.7, 0.6)) == 1
    assert BARS.best_of(history(0.5)) == 0
    torn = [{"auc": 0.6, "logloss": 0.5}, {"auc": 0.7, "logloss": 0.6}, {"auc": 0.65, "logloss": 0.4}]
    assert BARS.best_of(torn) == 1
    assert EarlyStopping(monitor="logloss").best_of(torn) == 2


def test_misses_with_a_best_between_them_do_not_stop() -> None:
    assert not BARS.stops(history(0.5, 0.4, 0.6, 0.5))
    assert BARS.stops(history(0.5, 0.6, 0.5, 0.5))


def test_nothing_is_cut_or_counted_while_epochs_are_held() -> None:
    rule = EarlyStopping(patience=2, lr_cut=0.1, hold_epochs=3)
    assert rule.factor(history(0.6, 0.5, 0.5)) == 1
    assert not rule.stops(history(0.6, 0.5, 0.5, 0.5))
    assert rule.factor(history(0.6, 0.5, 0.5, 0.5)) == pytest.approx(0.1)
    assert rule.stops(history(0.6, 0.5, 0.5, 0.5, 0.5))
    assert not rule.is_best(history(0.6, 0.5))


def test_log_loss_is_to_fall() -> None:
    rule = EarlyStopping("logloss", patience=1)
    assert rule.is_best(history(0.5, 0.6))
    assert rule.stops(history(0.6, 0.5))


def test_a_gain_below_the_least_is_none() -> None:
    assert not BARS.is_best(history(0.9, 0.9 + 1e-7))
    assert BARS.is_best(history(0.9, 0.9 + 2e-6))


@pytest.mark.parametrize("records", [[], history(0.5), history(0.6, 0.5)])
def test_without_patience_it_never_stops(records: list[dict[str, Any]]) -> None:
    assert not EarlyStopping().stops(records)
    assert EarlyStopping().factor(records) == 1
