"""Vocabularies by frequency against plain Python counts of the logs, and the rules for going on with one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep import key_counts, vocabulary
from data_prep.errors import DataError
from data_prep.inputs import find_days
from data_prep.options import MAX_ROWS, PrepareOptions
from data_prep.prepare import prepare
from data_prep.schema import criteo_schema
from data_prep.shards import open_manifest, open_part
from data_prep.verify import verify
from data_prep.vocabulary import column_file, open_vocabulary
from tests.data_prep.test_prepare import tree

THRESHOLD = 3
OPTIONS = PrepareOptions(criteo_schema(MAX_ROWS), None, part_rows=1000, max_bad_share=0.001, hash="frequency", threshold=THRESHOLD)


def run(raw: Path, out: Path, options: PrepareOptions = OPTIONS, workers: int = 1, files: str = "day_*") -> int:
    return prepare(out, find_days([f"{raw}/{files}"]), options, workers)[1]


@pytest.fixture(scope="module")
def shards(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three days of `raw` with a vocabulary over them. Not to be changed; copy it first."""
    folder = tmp_path_factory.mktemp("frequency")
    run(raw, folder)
    return folder


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def cells(raw: Path, day: int) -> list[list[str]]:
    return [line.split("\t")[14:] for line in (raw / f"day_{day}").read_text().splitlines()]


def oracle(raw: Path, threshold: int, most: int | None = None) -> list[dict[int, int]]:
    """The id of each key, by column."""
    ids = []
    for column in zip(*(row for day in range(3) for row in cells(raw, day)), strict=True):
        counts = Counter(int(cell, 16) for cell in column if cell)
        frequent = [key for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= threshold]
        ids.append({key: 2 + place for place, key in enumerate(frequent[:most])})
    return ids


def assert_ids(root: Path, raw: Path, expected: list[dict[int, int]]) -> None:
    manifest = open_manifest(root)
    assert [feature.num_embeddings for feature in manifest.schema.sparse] == [2 + len(ids) for ids in expected]
    for day in manifest.days:
        sparse = np.concatenate([open_part(root, part).sparse for part in day.parts])
        rows = [[ids.get(int(cell, 16), 1) if cell else 0 for cell, ids in zip(row, expected, strict=True)] for row in cells(raw, day.day)]
        assert sparse.tolist() == rows


def test_ids_are_those_of_plain_counts(raw: Path, shards: Path) -> None:
    expected = oracle(raw, THRESHOLD)
    assert_ids(shards, raw, expected)
    assert any(1 in open_part(shards, part).sparse for part in open_manifest(shards).days[0].parts)
    for column, ids in zip(open_vocabulary(shards / "vocabulary").columns, expected, strict=True):
        assert np.load(shards / "vocabulary" / f"{column.name}.npy").tolist() == list(ids)
        assert column.kept == len(ids) <= column.distinct
        assert column.cells_kept <= column.cells <= 7500
    assert not (shards / ".work").exists()


def test_the_most_frequent_are_kept_when_tables_are_limited(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_counts, "KEYS_AT_ONCE", 5000)
    monkeypatch.setattr(key_counts.merged, "__defaults__", (64,))
    limited = dataclasses.replace(OPTIONS, schema=criteo_schema(40), buckets=40, threshold=1)
    run(raw, tmp_path, limited)
    assert_ids(tmp_path, raw, oracle(raw, 1, most=38))
    assert max(feature.num_embeddings for feature in open_manifest(tmp_path).schema.sparse) == 40


def test_same_bytes_with_any_number_of_workers_and_small_memory(
    raw: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(raw, tmp_path / "two", workers=2)
    assert tree(tmp_path / "two") == tree(shards)
    monkeypatch.setattr(key_counts, "KEYS_AT_ONCE", 20_000)
    monkeypatch.setattr(key_counts.merged, "__defaults__", (50,))
    run(raw, tmp_path / "small")
    assert tree(tmp_path / "small") == tree(shards)


def test_a_second_run_does_nothing_and_fewer_days_are_fine(raw: Path, copy: Path, shards: Path) -> None:
    assert run(raw, copy) == run(raw, copy, files="day_1") == 0
    assert tree(copy) == tree(shards)


def test_a_day_that_was_not_counted_needs_the_vocabulary_named(raw: Path, tmp_path: Path) -> None:
    run(raw, tmp_path, files="day_[01]")
    before = tree(tmp_path)
    with pytest.raises(DataError, match=r"counted over days 0, 1, and day 2 is new: keep its ids with --vocabulary .*vocabulary"):
        run(raw, tmp_path)
    assert tree(tmp_path) == before
    given = dataclasses.replace(OPTIONS, vocabulary_from=tmp_path / "vocabulary")
    assert run(raw, tmp_path, given) == 1
    manifest = open_manifest(tmp_path)
    assert [day.day for day in manifest.days] == [0, 1, 2]
    assert {name: data for name, data in tree(tmp_path).items() if name in before and name != "manifest.json"} == {
        name: data for name, data in before.items() if name != "manifest.json"
    }


def test_a_vocabulary_from_elsewhere_gives_the_same_shards_without_counting(
    raw: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_prep.prepare.count_day", None)
    given = dataclasses.replace(OPTIONS, vocabulary_from=shards / "vocabulary")
    assert run(raw, tmp_path, given) == 3
    assert tree(tmp_path) == tree(shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 2}, "threshold 3 there, 2 asked"),
        ({"buckets": 9, "schema": criteo_schema(9)}, "buckets None there, 9 asked"),
        ({"hash": "modulo", "buckets": 500}, "hash frequency there, modulo asked"),
        ({"dense": "none"}, "dense_transform .* there, x asked"),
    ],
)
@pytest.mark.parametrize("days_there", [True, False])
def test_other_parameters_are_refused(change: dict[str, object], message: str, days_there: bool, raw: Path, copy: Path) -> None:
    if not days_there:
        for folder in copy.glob("day=*"):
            shutil.rmtree(folder)
        if "dense" in change:  # which the vocabulary does not depend on
            return
    before = tree(copy)
    with pytest.raises(DataError, match=f"made with other parameters .*{message}.*choose another --out"):
        run(raw, copy, dataclasses.replace(OPTIONS, **change))  # type: ignore[arg-type]
    assert tree(copy) == before


def test_shards_of_another_hash_are_refused_before_counting(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(raw, tmp_path, dataclasses.replace(OPTIONS, hash="modulo", schema=criteo_schema(500), buckets=500))
    monkeypatch.setattr("data_prep.prepare.count_day", None)
    with pytest.raises(DataError, match="hash modulo there, frequency asked"):
        run(raw, tmp_path)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_vocabulary_is_told_not_used(raw: Path, copy: Path, tmp_path: Path) -> None:
    flip_a_byte(copy / "vocabulary/C4.npy")
    with pytest.raises(DataError, match=r"C4.npy: its sha256 is not that of vocabulary.json; delete"):
        run(raw, copy)
    with pytest.raises(DataError, match=r"C4.npy: .* is damaged, fetch it again"):
        run(raw, tmp_path / "new", dataclasses.replace(OPTIONS, vocabulary_from=copy / "vocabulary"))
    (copy / "vocabulary/C4.npy").unlink()
    with pytest.raises(DataError, match=r"C4.npy: cannot be read"):
        run(raw, copy)
    (copy / "vocabulary/vocabulary.json").write_text("{}")
    with pytest.raises(DataError, match="is not the record of a vocabulary"):
        run(raw, copy)


def test_verify_looks_at_the_vocabulary_too(copy: Path) -> None:
    assert verify(copy)[1] == []
    flip_a_byte(copy / "vocabulary/C4.npy")
    assert verify(copy)[1] == [f"{copy}/vocabulary/C4.npy: its sha256 is not that of vocabulary.json"]
    record = copy / "vocabulary/vocabulary.json"
    record.write_text(record.read_text().replace('"threshold": 3', '"threshold": 4'))
    assert verify(copy)[1] == [f"{record}: its sha256 is not the manifest's"]
    record.unlink()
    (fault,) = verify(copy)[1]
    assert fault.startswith(f"no vocabulary in {copy}/vocabulary")


def test_a_vocabulary_that_does_not_fit_is_refused(raw: Path, shards: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no vocabulary in"):
        run(raw, tmp_path / "a", dataclasses.replace(OPTIONS, vocabulary_from=tmp_path))
    record = json.loads((copy / "vocabulary/vocabulary.json").read_text())
    record["columns"][0]["name"] = "other"
    (copy / "vocabulary/vocabulary.json").write_text(json.dumps(record))
    (copy / "vocabulary/C1.npy").rename(copy / "vocabulary/other.npy")
    with pytest.raises(DataError, match=r"with columns other, C2.*not of these logs"):
        run(raw, tmp_path / "b", dataclasses.replace(OPTIONS, vocabulary_from=copy / "vocabulary"))
    with pytest.raises(DataError, match="is another vocabulary than"):
        run(raw, copy, dataclasses.replace(OPTIONS, vocabulary_from=shards / "vocabulary"))


def test_a_stale_index_is_made_anew(raw: Path, shards: Path, tmp_path: Path) -> None:
    """The index of a vocabulary that somebody deleted must not serve the next one."""
    stale = tmp_path / ".work/index"
    stale.mkdir(parents=True)
    (stale / "vocabulary.json").write_text("of another vocabulary")
    run(raw, tmp_path)
    assert tree(tmp_path) == tree(shards)


def test_a_log_that_changed_since_is_counted_again_or_refused(raw: Path, shards: Path, tmp_path: Path, copy: Path) -> None:
    logs = Path(shutil.copytree(raw, tmp_path / "logs"))
    with (logs / "day_2").open("a") as file:
        file.write((raw / "day_0").read_text())
    shutil.rmtree(copy / "day=02")
    with pytest.raises(DataError, match="counted over other files of day 2"):
        run(logs, copy)


def test_counts_are_kept_when_the_second_pass_never_began(raw: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the passes, with one day's log changed since: only that day is counted again."""
    logs = Path(shutil.copytree(raw, tmp_path / "logs"))
    (logs / "day_1").write_text((raw / "day_0").read_text() + (raw / "day_0").read_text())

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    def run_first_pass() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(vocabulary, "_make_column", stopped)
            run(logs, tmp_path / "out")

    with pytest.raises(KeyboardInterrupt):
        run_first_pass()
    counts = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/.work/counts").glob("day=0[02]/*")}
    assert len(counts) == 2 * 27
    shutil.copy(raw / "day_1", logs / "day_1")
    with pytest.raises(KeyboardInterrupt):
        run_first_pass()
    assert {path: path.stat().st_mtime_ns for path in counts} == counts
    run(logs, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(shards)


def test_a_hopeless_log_stops_the_first_pass(raw: Path, tmp_path: Path) -> None:
    logs = Path(shutil.copytree(raw, tmp_path / "logs"))
    (logs / "day_1").write_text("no\n" * 50 + (raw / "day_1").read_text())
    with pytest.raises(DataError, match=r"50 of 2,550 rows are bad .*see .*quarantine-day=01.jsonl"):
        run(logs, tmp_path / "out")
    assert not (tmp_path / "out/vocabulary").exists()
    assert len((tmp_path / "out/quarantine-day=01.jsonl").read_text().splitlines()) == 50


@pytest.mark.parametrize("change", [{"threshold": 0}, {"hash": "sha"}, {"dense": "log2"}])
def test_nonsense_options_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"threshold = 0|hash = 'sha'|dense transform = 'log2'"):
        dataclasses.replace(OPTIONS, **change)  # type: ignore[arg-type]


def test_a_column_name_becomes_a_file_name() -> None:
    assert column_file("C1") == "C1"
    assert "/" not in column_file("user/id")
    assert column_file("a.b") != column_file("a/b")
