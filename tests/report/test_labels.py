"""Labels do not cover each other where there is room."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_nas.report.labels import Box, place, spread


def test_overlap_is_the_common_area() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(5, 8, 10, 10)) == 10
    assert Box(0, 0, 10, 10).overlap(Box(10, 0, 5, 5)) == 0


def test_labels_of_close_points_stay_apart_and_inside() -> None:
    points = [(100.0, 100.0), (112.0, 100.0), (104.0, 112.0), (250.0, 100.0)]
    area = Box(0, 0, 260, 200)
    boxes = place(points, [(60.0, 13.0)] * 4, area, [])
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(boxes, 2))
    assert all(box.overlap(area) == pytest.approx(60 * 13) for box in boxes)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_spread_keeps_order_gap_and_bounds(positions: list[float]) -> None:
    moved = spread(positions, 10, 0, 100)
    ranked = [moved[i] for i in sorted(range(len(moved)), key=lambda i: positions[i])]
    assert all(b - a >= 10 - 1e-9 for a, b in itertools.pairwise(ranked))
    assert min(moved) >= 0
    assert max(moved) <= 100 + 1e-9


def test_spread_moves_no_more_than_it_must() -> None:
    assert spread([50.0, 52.0, 90.0], 10, 0, 100) == [46, 56, 90]
    assert spread([99.0, 98.0], 10, 0, 100) == [100, 90]
