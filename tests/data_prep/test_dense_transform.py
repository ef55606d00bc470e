"""Dense transforms: known values, the same for every file, and names that are checked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.dense_transform import DENSE_TRANSFORMS, dense_transform
from data_prep.errors import DataError


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("log1p", [-7, -1, 0, 1, 99], [0, 0, 0, math.log(2), math.log(100)]),
        ("mlperf", [-7, -2, -1, 0, 97], [0, 0, math.log(2), math.log(3), math.log(100)]),
        ("none", [-7, 0, 0.5, 1e6], [-7, 0, 0.5, 1e6]),
    ],
)
def test_known_values(name: str, values: list[float], expected: list[float]) -> None:
    found = dense_transform(name).apply(np.array(values))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=50))
def test_every_integer_becomes_what_plain_python_says(values: list[int]) -> None:
    for name, lowest, offset in (("log1p", 0, 1), ("mlperf", -2, 3)):
        expected = [math.log(offset + max(value, lowest)) for value in values]
        np.testing.assert_allclose(DENSE_TRANSFORMS[name].apply(np.array(values, np.int64)), expected, rtol=1e-7, atol=1e-7)


def test_a_number_beyond_float32_is_infinite_and_no_warning() -> None:
    assert np.isinf(dense_transform("none").apply(np.array([1e300]))).all()
    assert np.isfinite(dense_transform("log1p").apply(np.array([1e300]))).all()


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(DataError, match=r"'log1': did you mean log1p\? there are log1p, mlperf, none"):
        dense_transform("log1")
