"""Quantiles and intervals against published values."""

from __future__ import annotations

import pytest

from recsys_nas.report.intervals import auc_sampling95, half_width95, t95


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (9, 2.2622), (30, 2.0423), (31, 2.0395), (60, 2.0003), (1000, 1.9623)]
)
def test_quantiles_of_students_t(degrees: int, quantile: float) -> None:
    assert t95(degrees) == pytest.approx(quantile, abs=6e-5)


def test_half_width_of_a_known_sample() -> None:
    assert half_width95([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / 3**0.5)


def test_one_value_has_no_interval() -> None:
    assert half_width95([0.7]) is None


def test_sampling_error_of_an_auc_by_hanley_and_mcneil() -> None:
    # their 1982 paper, table III: area 0.80, 50 normal and 50 abnormal cases, standard error 0.0445
    assert auc_sampling95(0.80, 50, 50) == pytest.approx(1.96 * 0.0445, abs=2e-3)
    assert auc_sampling95(0.80, 0, 50) is None
