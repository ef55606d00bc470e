"""A table in memory, a found architecture and a trained model: the library's front door, on a table small enough for a test."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_prep.errors import DataError
from data_prep.table_schema import DayRule, SparseColumn, TableSchema
from recsys_nas.config import ConfigError
from recsys_nas.estimator import ArchitectureSearch

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1500
SCHEMA = TableSchema(
    label="clicked",
    dense=("price",),
    sparse={"user": SparseColumn(buckets=20), "shop": SparseColumn(buckets=20)},
    day=DayRule(column="day", first=datetime.date(2026, 3, 1)),
)
SMALL = ("space.num_blocks=1", "space.dense_widths=[4]", "space.token_counts=[2]", "embedding.dim=4", "search.batch_size=128",
         "retrain.batch_size=128")  # fmt: skip


def clicks() -> dict[str, object]:
    draw = np.random.default_rng(3)
    user, shop = draw.integers(0, 8, ROWS), np.array(["north", "south"])[draw.integers(0, 2, ROWS)]
    clicked = draw.random(ROWS) < np.where(user < 4, 0.8, 0.1)
    day = np.datetime64("2026-03-01") + np.arange(ROWS) // (ROWS // 3)
    return {"clicked": clicked.astype(int), "day": day, "price": draw.random(ROWS), "user": user, "shop": shop}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> ArchitectureSearch:
    return ArchitectureSearch(tmp_path_factory.mktemp("runs") / "clicks", SCHEMA, SMALL).fit(clicks())


def test_a_fitted_search_is_a_run_with_an_architecture_and_a_report(fitted: ArchitectureSearch) -> None:
    assert fitted.architecture.num_sparse == 2
    assert fitted.results["models"][0]["name"] == "found"
    assert fitted.results["test"]["rows"] == ROWS // 3
    assert sorted(path.name for path in (fitted.folder / "days").iterdir()) == ["day=00", "day=01"]  # never the day that judges
    assert (fitted.folder / "report.html").exists()
    assert json.loads((fitted.folder / "run.json").read_text())["manifest_sha256"]


def test_new_rows_are_scored_in_their_order_without_label_or_day(fitted: ArchitectureSearch) -> None:
    table = {name: values for name, values in clicks().items() if name not in ("clicked", "day")}
    scored = fitted.predict_proba(table)
    assert scored.shape == (ROWS, 2)
    assert scored.dtype == np.float32
    np.testing.assert_allclose(scored.sum(axis=1), 1, rtol=1e-6)
    backwards = {name: np.asarray(values)[::-1] for name, values in table.items()}
    np.testing.assert_allclose(fitted.predict_proba(backwards)[::-1], scored, atol=1e-6)
    assert scored[np.asarray(table["user"]) < 4, 1].mean() > scored[np.asarray(table["user"]) >= 4, 1].mean()
    np.testing.assert_array_equal(fitted.predict_proba(pa.table(table)), scored)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_do_as_well(fitted: ArchitectureSearch, library: str) -> None:
    frames = pytest.importorskip(library, reason=f"{library}, whose DataFrames this is about, is not installed")
    table = {name: values for name, values in clicks().items() if name not in ("clicked", "day")}
    frame = frames.DataFrame(table)
    want = fitted.predict_proba(table)
    np.testing.assert_array_equal(fitted.predict_proba(frame), want)
    shop = frame["shop"].astype("category") if library == "pandas" else frame["shop"].cast(frames.Categorical)
    np.testing.assert_array_equal(fitted.predict_proba({**table, "shop": pa.array(shop)}), want)
    again = ArchitectureSearch(fitted.folder, SCHEMA, SMALL).fit(frames.DataFrame(clicks()) if library == "polars" else clicks())
    assert again.architecture == fitted.architecture


def test_views_and_dictionaries_of_texts_are_plain_texts(fitted: ArchitectureSearch) -> None:
    """What polars hands over, without polars."""
    table = {name: values for name, values in clicks().items() if name not in ("clicked", "day")}
    want = fitted.predict_proba(table)
    names = pa.array(["north", "south"], pa.string_view())
    codes = pa.array(np.where(np.asarray(table["shop"]) == "north", 0, 1), pa.uint32())
    views, coded = names.cast(pa.string()).take(codes).cast(pa.string_view()), pa.DictionaryArray.from_arrays(codes, names)
    for shop in (views, coded):
        np.testing.assert_array_equal(fitted.predict_proba({**table, "shop": shop}), want)
    whole = clicks()
    again = ArchitectureSearch(fitted.folder, SCHEMA, SMALL).fit({**whole, "shop": views})
    assert again.architecture == fitted.architecture


def test_a_folder_is_for_one_table(fitted: ArchitectureSearch) -> None:
    before = (fitted.folder / "results.json").stat().st_mtime_ns, (fitted.folder / "days/day=00/alphas.json").stat().st_mtime_ns
    again = ArchitectureSearch(fitted.folder, SCHEMA, SMALL).fit(clicks())
    assert again.architecture == fitted.architecture
    assert (fitted.folder / "days/day=00/alphas.json").stat().st_mtime_ns == before[1]
    other = clicks() | {"price": np.zeros(ROWS)}
    with pytest.raises(DataError, match="folder of another table"):
        again.fit(other)


def test_a_folder_is_for_one_schema(fitted: ArchitectureSearch) -> None:
    """Ids by another number of buckets would all be valid, and mean nothing to the model."""
    for user in (SparseColumn(buckets=10), SparseColumn(buckets=20, type="integer")):
        sparse = {"user": user, "shop": SparseColumn(buckets=20)}
        other = ArchitectureSearch(fitted.folder, dataclasses.replace(SCHEMA, sparse=sparse), SMALL)
        with pytest.raises(DataError, match="was made by another schema"):
            other.fit(clicks())
        with pytest.raises(DataError, match="was made by another schema"):
            other.predict_proba(clicks())


def test_a_table_that_was_refused_may_be_mended(tmp_path: Path) -> None:
    search = ArchitectureSearch(tmp_path / "clicks", SCHEMA, SMALL)
    price = [str(value) for value in clicks()["price"]]  # type: ignore[attr-defined]
    price[7] = "dear"
    with pytest.raises(DataError, match=r"the first at row 8 of the table: price is not a number$"):
        search._shards(clicks() | {"price": price})
    assert len(search._shards(clicks()).days) == 3


@pytest.mark.parametrize(
    ("settings", "table", "said"),
    [
        (["retrain.models=['dcnv3']"], {}, "retrain.models: there is no 'dcnv3'; did you mean 'dcnv2'?"),
        ([], {"clicked": np.arange(ROWS) < 2 * ROWS // 3}, "data.test_day: day 2 of the data hold 500 rows, and rows without a click only"),
    ],
)
def test_what_trainings_would_find_is_told_before_the_search(
    tmp_path: Path, settings: list[str], table: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        ArchitectureSearch(tmp_path / "clicks", SCHEMA, [*SMALL, *settings]).fit(clicks() | table)
    assert not (tmp_path / "clicks" / "config.toml").exists(), "a mended setting is no other config"


def test_what_is_no_table_or_lacks_something_is_told(fitted: ArchitectureSearch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table can be made of a int"):
        fitted.predict_proba(7)
    with pytest.raises(DataError, match="user"):
        fitted.predict_proba({"price": [1.0], "shop": ["north"]})
    with pytest.raises(DataError, match="price"):
        fitted.predict_proba({"price": ["dear"], "user": [1], "shop": ["north"]})
    one_day = {name: np.asarray(values)[: ROWS // 3] for name, values in clicks().items()}
    with pytest.raises(DataError, match="day 0 only"):
        ArchitectureSearch(tmp_path / "one", SCHEMA, SMALL).fit(one_day)
    with pytest.raises(DataError, match="no column for the day"):
        ArchitectureSearch(tmp_path / "none", TableSchema("clicked", ("price",))).fit(clicks())


def test_the_example_is_short_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "examples" / "fit_a_table.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 30
    fewer = text.replace("60_000", "3_000").replace("20_000", "1_000")
    assert fewer != text
    monkeypatch.chdir(tmp_path)
    exec(compile(fewer, "fit_a_table.py", "exec"), {"__name__": "__main__"})
    assert re.search(r"AUC 0\.\d{4} on the last day", capsys.readouterr().out)
