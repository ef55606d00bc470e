"""Jagged columns: written, mapped, checked; shards without them are as they were."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import DataError
from data_prep.part_files import PartFiles, write_part
from data_prep.schema import JaggedFeature, Schema, SparseFeature, criteo_schema
from data_prep.shards import DayEntry, Jagged, Manifest, Part, open_manifest, open_part, write_manifest
from data_prep.verify import verify

LISTS = [[3, 1, 4], [], [1], [5, 9, 2, 6], []]
SCHEMA = Schema("label", ("price",), (SparseFeature("item", 10),), (JaggedFeature("history", 10, 4), JaggedFeature("tags", 7, 1)))


def part_of(history: list[list[int]], tags: list[list[int]]) -> Part:
    """A part of these lists; the first of its rows is a click."""
    rows = len(history)
    label = (np.arange(rows) == 0).astype(np.int32)[:, None]
    return Part(np.full((rows, 1), 0.5, np.float32), np.ones((rows, 1), np.int32), label, {"history": of(history), "tags": of(tags)})


def of(lists: list[list[int]]) -> Jagged:
    return Jagged.of(np.array([value for values in lists for value in values], np.int32), np.array([*map(len, lists)], np.int64))


def lists_of(jagged: Jagged) -> list[list[int]]:
    return [jagged.values[a:b].tolist() for a, b in zip(jagged.offsets, jagged.offsets[1:], strict=False)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One part of five rows."""
    part = part_of(LISTS, [[], [], [], [], [6]])
    entry = write_part(tmp_path / "day=00/part-00000", "day=00/part-00000", part)
    write_manifest(tmp_path, Manifest(SCHEMA, {}, (DayEntry(0, 5, 1, (entry,)),)))
    return tmp_path


def test_lists_come_back_mapped(folder: Path) -> None:
    manifest = open_manifest(folder)
    assert manifest.schema == SCHEMA
    part = open_part(folder, manifest.days[0].parts[0])
    assert list(part.jagged) == ["history", "tags"]
    history = part.jagged["history"]
    assert isinstance(history.values, np.memmap)
    assert (history.values.dtype, history.offsets.dtype) == (np.int32, np.int64)
    assert lists_of(history) == LISTS
    assert verify(folder)[1] == []


def test_the_manifest_names_every_file(folder: Path) -> None:
    files = {path.name for path in (folder / "day=00/part-00000").iterdir()}
    assert set(open_manifest(folder).days[0].parts[0].sha256) == files
    assert files == {"dense.npy", "sparse.npy", "label.npy"} | {f"{n}.{k}.npy" for n in ("history", "tags") for k in ("values", "offsets")}


def test_a_schema_without_lists_reads_and_writes_as_before() -> None:
    raw = criteo_schema(10).to_json()
    assert set(raw) == {"label", "dense", "sparse"}
    assert Schema.from_json(raw).jagged == ()
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA
    assert [feature.name for feature in SCHEMA.categorical] == ["item", "history", "tags"]


def set_at(place: int, value: int) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    def change(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("file", "change", "fault"),
    [
        ("history.values.npy", set_at(2, 10), "history.values.npy: 1 values out of range (ids from 0"),
        ("history.values.npy", set_at(0, -1), "history.values.npy: 1 values out of range"),
        ("history.values.npy", lambda array: array[:-1], "history.offsets.npy: end at 8, there are 7 values"),
        ("history.values.npy", lambda array: array.astype(np.int64), "history.values.npy: holds int64 [8], not int32 [8]"),
        ("history.offsets.npy", lambda array: array[:-1], "history.offsets.npy: holds int64 [5], not int64 [6]"),
        ("history.offsets.npy", set_at(1, 5), "history.offsets.npy: do not begin at 0 and rise"),
        ("history.offsets.npy", set_at(0, 1), "history.offsets.npy: do not begin at 0 and rise"),
        ("history.offsets.npy", set_at(3, 3), "history.offsets.npy: 1 lists longer than max_length = 4"),
    ],
)
def test_verify_finds(file: str, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], fault: str, folder: Path) -> None:
    path = folder / "day=00/part-00000" / file
    np.save(path, change(np.load(path)))
    faults = verify(folder)[1]
    assert len(faults) == 2
    assert faults[0] == f"{path}: its sha256 is not the manifest's"
    assert faults[1].startswith(f"{path.parent}/{fault}")


def test_a_missing_or_short_file_is_told(folder: Path) -> None:
    entry = open_manifest(folder).days[0].parts[0]
    path = folder / entry.path / "tags.values.npy"
    np.save(path, np.zeros(3, np.int32))
    with pytest.raises(DataError, match=r"tags.values.npy holds int32 \[3\], the manifest says int32 with 1 "):
        open_part(folder, entry)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*tags.values.npy"):
        open_part(folder, entry)
    assert verify(folder)[1] == [f"{path}: cannot be read (No such file or directory)"]
    shutil.rmtree(path.parent)
    assert len(verify(folder)[1]) == 7


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-x"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="its name becomes a file's"):
        JaggedFeature(name, 10, 3)


@pytest.mark.parametrize(("first", "end"), [(0, 3), (1, 4), (2, 2), (3, 5), (4, 9)])
def test_a_cut_has_the_lists_of_its_rows(first: int, end: int) -> None:
    cut = of(LISTS).cut(first, end)
    assert lists_of(cut) == LISTS[first:end]
    assert cut.offsets[0] == 0


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5), max_size=5))
def test_blocks_of_lists_follow_each_other(blocks: list[list[list[int]]]) -> None:
    lists = [row for block in blocks for row in block]
    with tempfile.TemporaryDirectory() as name:
        root, path = Path(name), "day=00/part-00000"
        files = PartFiles(root / path, part_of([], []), expected=7)
        for block in blocks:
            files.append(part_of(block, block))
        assert lists_of(open_part(root, files.finish(path)).jagged["history"]) == lists
