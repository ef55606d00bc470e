"""Files of parts, appended to: the same bytes as numpy writes at once, however the rows come, and digests of just these bytes."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.part_files import ArrayFile, PartFiles
from data_prep.part_writer import PartWriter
from data_prep.schema import JaggedFeature, Schema, SparseFeature
from data_prep.shards import DayEntry, Jagged, Manifest, Part, open_part, write_manifest
from data_prep.verify import verify

ROWS = 40
SCHEMA = Schema("label", ("price", "age"), (SparseFeature("item", 1000),), (JaggedFeature("history", 10, 4),))


def whole(rows: int) -> Part:
    """Rows that differ, every third a click."""
    numbers = np.arange(rows)
    lengths = numbers % 5 % 4
    lists = Jagged.of((np.arange(lengths.sum()) % 10).astype(np.int32), lengths)
    dense = np.stack([numbers, -numbers], axis=1).astype(np.float32)
    return Part(dense, numbers[:, None].astype(np.int32), (numbers[:, None] % 3 == 0).astype(np.int32), {"history": lists})


def saved(array: np.ndarray) -> bytes:
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


cuts = st.lists(st.integers(0, ROWS), max_size=6).map(lambda ends: list(pairwise([0, *sorted(ends), ROWS])))


@settings(deadline=None)
@given(cuts, st.integers(0, 10**12))
def test_an_array_appended_to_is_what_numpy_saves(spans: list[tuple[int, int]], expected: int) -> None:
    array = whole(ROWS).dense
    with tempfile.TemporaryDirectory() as folder:
        file = ArrayFile(path := Path(folder) / "dense.npy", array, expected)
        for first, end in spans:
            file.append(array[first:end])
        digest = file.finish()
        file.close()
        assert path.read_bytes() == saved(array)
        assert digest == hashlib.sha256(saved(array)).hexdigest()


def test_rows_that_do_not_lie_together_are_written_in_their_order(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6).T
    file = ArrayFile(tmp_path / "dense.npy", array, 6)
    file.append(array)
    file.finish()
    file.close()
    np.testing.assert_array_equal(np.load(tmp_path / "dense.npy"), array)
    assert (tmp_path / "dense.npy").read_bytes() == saved(np.ascontiguousarray(array))


@pytest.mark.parametrize("expected", [ROWS, ROWS - 1, ROWS + 60, 0])
def test_a_full_part_and_a_short_one(tmp_path: Path, expected: int) -> None:
    part, path = whole(ROWS), "day=03/part-00000"
    files = PartFiles(tmp_path / path, part, expected)
    for first in range(0, ROWS, 7):
        files.append(part.cut(first, first + 7))
    entry = files.finish(path)
    assert (entry.path, entry.rows, entry.positives) == (path, ROWS, 14)
    assert {name: (tmp_path / path / name).read_bytes() for name in entry.sha256} == {name: saved(array) for name, array in part.arrays()}
    write_manifest(tmp_path, Manifest(SCHEMA, {}, (DayEntry(3, ROWS, 14, (entry,)),)))
    assert verify(tmp_path)[1] == []


@settings(max_examples=30, deadline=None)
@given(cuts, st.integers(1, ROWS + 1))
def test_blocks_are_divided_among_parts(spans: list[tuple[int, int]], rows: int) -> None:
    day = whole(ROWS)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with PartWriter(root / "day=00", "day=00", rows) as writer:
            for first, end in spans:
                writer.append(day.cut(first, end))
            entries = writer.finish()
        assert [entry.rows for entry in entries] == [min(rows, ROWS - first) for first in range(0, ROWS, rows)]
        parts = [open_part(root, entry) for entry in entries]
        np.testing.assert_array_equal(np.concatenate([part.dense for part in parts]), day.dense)
        write_manifest(root, Manifest(SCHEMA, {}, (DayEntry(0, ROWS, 14, tuple(entries)),)))
        assert verify(root)[1] == []


def test_no_rows_make_no_part(tmp_path: Path) -> None:
    with PartWriter(tmp_path / "day=00", "day=00", 3) as writer:
        writer.append(whole(0))
        assert writer.finish() == []
    assert not (tmp_path / "day=00").exists()


@pytest.mark.parametrize("expected", [ROWS, ROWS + 9])
def test_every_file_is_flushed_to_the_disk_with_all_of_its_bytes(expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, fsync = {}, os.fsync

    def note(file: int) -> None:
        fsync(file)
        flushed[os.path.realpath(f"/proc/self/fd/{file}")] = os.fstat(file).st_size

    monkeypatch.setattr(os, "fsync", note)
    part = whole(ROWS)
    files = PartFiles(tmp_path / "part", part, expected)
    files.append(part)
    entry = files.finish("part")
    there = {str(path): path.stat().st_size for path in (tmp_path / "part").iterdir()}
    assert flushed == there
    assert {Path(path).name for path in there} == entry.sha256.keys()
