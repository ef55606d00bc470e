"""Distances between days: numbers worked out by hand, and shards with a planted shift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_prep import drift as drift_module
from data_prep import summary
from data_prep.drift import CELLS, ColumnDrift, drift, sampled
from data_prep.part_files import write_part
from data_prep.schema import JaggedFeature, Schema, SparseFeature
from data_prep.shards import DayEntry, Jagged, Manifest, empty_part, open_part, write_manifest
from data_prep.summary import summarise

ROWS = 2000
SCHEMA = Schema("label", ("steady", "shifted"), (SparseFeature("same", 50), SparseFeature("moved", 50)), (JaggedFeature("tags", 40, 2),))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Three days of two parts; on day 2 the ids of `moved`, the numbers of `shifted`, the tags and the click rate are others."""
    root, generator, days = tmp_path_factory.mktemp("drift"), np.random.default_rng(0), []
    for day in range(3):
        parts = []
        for number in range(2):
            part, other = empty_part(SCHEMA, ROWS), day == 2
            part.dense[:] = generator.normal(size=part.dense.shape) + [0.0, 3.0 * other]
            part.sparse[:] = generator.integers(0, 25, part.sparse.shape) + [0, 25 * other]
            part.label[:] = (generator.random(part.label.shape) < (0.5 if other else 0.25)).astype(np.int32)
            lengths = generator.integers(0, 3, ROWS)
            tags = Jagged.of((generator.integers(1, 20, lengths.sum()) + 20 * other).astype(np.int32), lengths)
            path = f"day={day:02d}/part-{number:05d}"
            parts.append(write_part(root / path, path, replace(part, jagged={"tags": tags})))
        days.append(DayEntry(day, 2 * ROWS, sum(part.positives for part in parts), tuple(parts)))
    manifest = Manifest(SCHEMA, {}, tuple(days))
    write_manifest(root, manifest)
    return root, manifest


def test_what_moved_is_large_on_the_day_it_moved(shards: tuple[Path, Manifest]) -> None:
    columns = {column.name: column for column in drift(*shards)}
    assert [name for name, column in columns.items() if column.large] == ["moved", "tags", "shifted"]
    for name in ("moved", "tags"):
        assert columns[name].to_next[1] > 0.95, "hardly a cell in common"
        assert columns[name].first_to_last > 0.95
    assert columns["moved"].to_next[0] < 0.1
    assert columns["shifted"].to_next[0] < 0.02 < 2 < columns["shifted"].to_next[1]


def test_one_day_has_nothing_to_be_compared_with(shards: tuple[Path, Manifest]) -> None:
    root, manifest = shards
    assert drift(root, Manifest(SCHEMA, {}, manifest.days[:1])) == []


def test_distances_by_hand() -> None:
    p, q, r = (np.zeros((1, CELLS), np.int64) for _ in range(3))
    p[0, :2], q[0, :2], r[0, 2] = (10, 30), (30, 10), 7
    # H(1/2, 1/2) - H(1/4, 3/4) bits
    assert drift_module._distances(p, q)[0] == pytest.approx((1 - 0.8112781) ** 0.5)
    assert drift_module._distances(p, r)[0] == pytest.approx(1)
    assert drift_module._distances(p, 5 * p)[0] == pytest.approx(0, abs=1e-7)
    assert drift_module._distances(p, 0 * p)[0] == 0


def test_the_stability_index_by_hand() -> None:
    before = np.repeat(np.arange(10, dtype=np.float32), 100)
    assert drift_module._index(before, before) == 0
    after = before.copy()
    after[:100] = 9  # the lowest tenth becomes the highest
    low, one, high = 0.5 / 1005, 100.5 / 1005, 200.5 / 1005
    expected = (low - one) * np.log(low / one) + (high - one) * np.log(high / one)
    assert drift_module._index(before, after) == pytest.approx(expected)


@given(arrays.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([0.0, 0.0, 1.0, 2.5])), st.integers(0, 5))
def test_the_index_of_any_sample_is_finite_and_not_negative(values: np.ndarray, zeros: int) -> None:
    index = drift_module._index(values, np.append(values, np.zeros(zeros, np.float32)))
    assert np.isfinite(index)
    assert index >= 0


def test_the_sample_is_spread_over_the_day(shards: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    root, manifest = shards
    monkeypatch.setattr(drift_module, "BLOCK_ROWS", 100)
    monkeypatch.setattr(drift_module, "SAMPLE_ROWS", 1000)
    blocks = [(part.label.shape, first, end) for part, first, end in sampled(root, manifest.days[0])]
    assert [(first, end) for _, first, end in blocks] == [(first, first + 100) for first in range(0, 2000, 400)] * 2


def test_inspect_shows_lists_and_drift(shards: tuple[Path, Manifest]) -> None:
    root, manifest = shards
    lines = list(summarise(root, 0))
    part = [open_part(root, entry).jagged["tags"] for entry in manifest.days[0].parts]
    empty = sum(int((np.diff(lists.offsets) == 0).sum()) for lists in part) / (2 * ROWS)
    cells = next(line.split() for line in lines if line.split()[:1] == ["tags"])
    assert cells == ["tags", f"{100 * empty:.1f}", "%", "19", "40", f"{sum(len(x.values) for x in part) / (2 * ROWS):.2f}"]
    assert any("2 dense and 2 sparse columns, 1 jagged" in line for line in lines)
    assert any(line.startswith("click rate") and "1-2 +" in line and line.endswith("!") for line in lines)
    assert next(line for line in lines if line.split()[:2] == ["moved", "JS"]).endswith("!")


@pytest.mark.parametrize(
    ("sizes", "groups"), [([], []), ([5], [(0, 1)]), ([3, 3, 3, 20, 1], [(0, 3), (3, 4), (4, 5)]), ([20, 20], [(0, 1), (1, 2)])]
)
def test_columns_are_looked_at_in_groups_that_fit_the_memory(
    sizes: list[int], groups: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "MAX_FLAGS", 10)
    assert [(group.start, group.stop) for group in summary._groups(sizes)] == groups


def test_a_column_is_large_above_its_limit() -> None:
    assert not ColumnDrift("a", "PSI", (0.1, 0.2), 0.25, 0.25).large
    assert ColumnDrift("a", "PSI", (0.1, 0.3), 0.2, 0.25).large
