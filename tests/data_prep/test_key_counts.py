"""Counting, merging and looking up keys against dictionaries, with the memory limits made small."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep import key_counts
from data_prep.key_counts import KeyCounter, merged, open_tally, write_tally
from data_prep.key_index import look_up, open_index, write_index

KEYS = st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1), st.sampled_from([0, 2**63 - 1, 2**63, 2**64 - 1]))


def tally(counts: dict[int, int]) -> NDArray[np.uint64]:
    return np.array(sorted(counts.items()), np.uint64).reshape(-1, 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(KEYS, max_size=30), st.lists(KEYS, max_size=5)), max_size=12), st.integers(1, 50), st.integers(1, 3))
def test_tallies_are_counts(blocks: list[tuple[list[int], list[int]]], keys_at_once: int, threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(key_counts, "KEYS_AT_ONCE", keys_at_once):
        counter = KeyCounter(Path(folder), ["a", "b"], threads)
        for block in blocks:
            counter.add([np.array(keys, np.uint64) for keys in block])
        counter.close()
        assert sorted(path.name for path in Path(folder).iterdir()) == ["a", "b"]
        for column, name in enumerate("ab"):
            expected = tally(Counter(key for block in blocks for key in block[column]))
            np.testing.assert_array_equal(open_tally(Path(folder) / name), expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(KEYS, st.integers(1, 2**40), max_size=20), max_size=6), st.integers(1, 40), st.randoms())
def test_merging_adds_up_in_any_order(counts: list[dict[int, int]], entries: int, random: random.Random) -> None:
    expected = tally(sum(map(Counter, counts), Counter()))
    tallies = [tally(count) for count in counts]
    random.shuffle(tallies)
    pieces = list(merged(tallies, entries))
    np.testing.assert_array_equal(np.concatenate([np.empty((0, 2), np.uint64), *pieces]), expected)
    assert all(0 < len(piece) <= max(entries, len(tallies)) for piece in pieces)


def test_a_tally_without_entries_can_be_written_and_merged(tmp_path: Path) -> None:
    write_tally(tmp_path / "none", [])
    assert open_tally(tmp_path / "none").shape == (0, 2)
    assert list(merged([open_tally(tmp_path / "none")])) == list(merged([])) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(KEYS, unique=True, max_size=200), st.lists(KEYS, min_size=1, max_size=50), st.data())
def test_the_index_is_a_dictionary(known: list[int], asked: list[int], data: st.DataObject) -> None:
    keys = [*known, *asked]
    missing = data.draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder) / "index", np.array(known, np.uint64))
        ids = look_up(open_index(Path(folder) / "index"), np.array(keys, np.uint64), np.array(missing))
    expected = {key: 2 + index for index, key in enumerate(known)}
    assert ids.tolist() == [0 if gap else expected.get(key, 1) for key, gap in zip(keys, missing, strict=True)]
    assert ids.dtype == np.int32


def test_keys_that_follow_each_other_or_share_their_low_bits_are_found(tmp_path: Path) -> None:
    for number, step in enumerate((1, 2**20, 2**32, 2**40)):
        keys = np.arange(5000, dtype=np.uint64) * np.uint64(step)
        write_index(tmp_path / str(number), keys)
        ids = look_up(open_index(tmp_path / str(number)), keys, np.zeros(len(keys), np.bool_))
        np.testing.assert_array_equal(ids, np.arange(2, 5002))


def test_an_index_without_room_is_an_error_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        write_index(tmp_path / "index", np.arange(10, dtype=np.uint64))
