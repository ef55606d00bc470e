"""The reader returns every row once, the same work to every rank, and goes on where its state says; against a plain one."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.errors import DataError
from data_prep.shards import Manifest, open_part
from recsys_nas.training import reader as reader_module
from recsys_nas.training.reader import HeldOut, ReaderOptions, ShardReader
from tests.fabricated_shards import CARDINALITIES, write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    root = tmp_path_factory.mktemp("shards")
    return root, write_shards(root, days=2, rows_per_part=(50, 23))


def read(shards: tuple[Path, Manifest], **options: object) -> ShardReader:
    root, manifest = shards
    return ShardReader(root, manifest, [0, 1], ReaderOptions(**({"batch_size": 8, "table_rows": CARDINALITIES} | options)))  # type: ignore[arg-type]


def rows_of(reader: ShardReader) -> np.ndarray:
    """All valid rows as one table: dense, ids, label."""
    tables = []
    for batch in reader:
        ids = batch.sparse.values().view(len(CARDINALITIES), -1).T
        tables.append(torch.cat([batch.dense, ids, batch.labels[:, None]], dim=1)[: batch.valid])
    return torch.cat(tables).numpy()


def raw_rows(shards: tuple[Path, Manifest]) -> np.ndarray:
    root, manifest = shards
    parts = [open_part(root, part) for day in manifest.days for part in day.parts]
    return np.concatenate([np.concatenate([p.dense, p.sparse, p.label], axis=1) for p in parts]).astype(np.float32)


def test_in_order_reading_returns_every_row_once(shards: tuple[Path, Manifest]) -> None:
    assert np.array_equal(rows_of(read(shards)), raw_rows(shards))


def test_a_kjt_holds_one_id_a_feature_under_its_name(shards: tuple[Path, Manifest]) -> None:
    batch = next(iter(read(shards)))
    expected = raw_rows(shards)[:8, 2:5]
    for column, name in enumerate(("C1", "C2", "C3")):
        feature = batch.sparse[name]
        assert feature.lengths().tolist() == [1] * 8
        assert feature.values().tolist() == expected[:, column].tolist()


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_have_equal_numbers_of_batches_and_share_every_row(shards: tuple[Path, Manifest], world_size: int) -> None:
    readers = [read(shards, rank=rank, world_size=world_size) for rank in range(world_size)]
    pieces = [list(reader) for reader in readers]
    assert len({len(batches) for batches in pieces}) == 1
    for step in zip(*pieces, strict=True):
        assert len({len(batch.labels) for batch in step}) == 1, "TorchRec would hang on uneven batches"
        assert sum(batch.valid for batch in step) == step[0].step_rows
    together = np.concatenate([rows_of(reader) for reader in readers])
    order = np.lexsort(together.T)
    expected = raw_rows(shards)
    assert np.array_equal(together[order], expected[np.lexsort(expected.T)])


def test_shuffled_ranks_cut_the_same_blocks(shards: tuple[Path, Manifest]) -> None:
    whole = [batch.labels for batch in read(shards, shuffle_seed=3)]
    halves = [[batch.labels for batch in read(shards, shuffle_seed=3, rank=rank, world_size=2)] for rank in range(2)]
    for block, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(block, torch.cat([first, second]))


def test_days_in_order_are_shuffled_each_within_itself(shards: tuple[Path, Manifest]) -> None:
    mixed, ordered = read(shards, shuffle_seed=3)._starts, read(shards, shuffle_seed=3, days_in_order=True)._starts
    first_day = shards[1].days[0].rows
    assert sorted(ordered) == sorted(mixed)
    days = ordered >= first_day
    assert (np.diff(days.astype(int)) >= 0).all()
    assert [start for start in mixed if start < first_day] == ordered[~days].tolist(), "in the order of the shuffle"
    assert (np.diff((mixed >= first_day).astype(int)) < 0).any()


@pytest.mark.parametrize("shuffle_rows", [False, True])
def test_single_rows_stay_in_their_days_and_ranges_too(shards: tuple[Path, Manifest], shuffle_rows: bool) -> None:
    raw, end = raw_rows(shards), 8 * 15
    first_day = shards[1].days[0].rows // 8 * 8
    drawn = rows_of(read(shards, shuffle_seed=3, shuffle_rows=shuffle_rows, days_in_order=True, rows=(8, end), max_steps=13))
    assert len(drawn) == 13 * 8
    assert set(map(tuple, drawn)) <= set(map(tuple, raw[8:end]))
    assert set(map(tuple, drawn[: first_day - 8])) <= set(map(tuple, raw[: first_day + 8]))


@pytest.mark.parametrize("shuffle_rows", [False, True])
def test_held_out_rows_are_those_of_their_turns_alone_in_every_pass(shards: tuple[Path, Manifest], shuffle_rows: bool) -> None:
    raw = raw_rows(shards)  # 146 rows: 16 are held out, two batches, and 130 are not, sixteen
    turns = np.tile([False, False, False, True], 20)
    reader = read(shards, shuffle_seed=3, shuffle_rows=shuffle_rows, held_out=HeldOut(16, turns))
    assert (len(reader), reader.total_rows) == (80, 640)
    steps = [batch.dense.numpy() for batch in reader]
    held, others = (np.stack([step for step, turn in zip(steps, turns, strict=True) if turn is kept]) for kept in (np.True_, np.False_))
    assert held.shape, others.shape == ((20, 8, raw.shape[1]), (60, 8, raw.shape[1]))
    known = {row.tobytes() for row in raw[-16:, : held.shape[2]]}
    assert not known & {row.tobytes() for row in raw[:-16, : held.shape[2]]}, "numbers tell these rows apart"
    passes = held.reshape(10, 16, -1)
    assert all({row.tobytes() for row in one} == known for one in passes), "each pass has each row once"
    assert len({one.tobytes() for one in passes}) > (5 if shuffle_rows else 1), "in another order"
    assert not known & {row.tobytes() for step in others for row in step}
    whole = rows_of(reader)
    list(reader.until(33))
    again = read(shards, shuffle_seed=3, shuffle_rows=shuffle_rows, held_out=HeldOut(16, turns))
    again.load_state_dict(reader.state_dict())
    assert np.array_equal(rows_of(again), whole[33 * 8 :])


def test_shuffling_depends_on_the_seed_alone_and_differs_between_epochs(shards: tuple[Path, Manifest]) -> None:
    once, again, other = (rows_of(read(shards, shuffle_seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    epochs = rows_of(read(shards, shuffle_seed=1, epochs=2)).reshape(2, *once.shape)
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(np.sort(epochs[0], axis=0), np.sort(epochs[1], axis=0))


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("stop_after", [1, 4, 18])
def test_a_restored_reader_goes_on_with_the_remaining_batches(shards: tuple[Path, Manifest], prefetch: int, stop_after: int) -> None:
    undisturbed = [batch.labels for batch in read(shards, shuffle_seed=5)]
    interrupted = read(shards, shuffle_seed=5, prefetch=prefetch)
    batches = iter(interrupted)
    for _ in range(stop_after):
        next(batches)
    state = json.loads(json.dumps(interrupted.state_dict()))
    resumed = read(shards, shuffle_seed=5, prefetch=prefetch)
    resumed.load_state_dict(state)
    remaining = [(batch.index, batch.labels) for batch in resumed]
    assert [index for index, _ in remaining] == list(range(stop_after, len(undisturbed)))
    assert all(torch.equal(labels, expected) for (_, labels), expected in zip(remaining, undisturbed[stop_after:], strict=True))
    assert [batch.index for batch in resumed] == list(range(len(undisturbed))), "a second pass begins anew"


@pytest.mark.parametrize("changed", [{"batch_size": 4}, {"shuffle_seed": 6}, {"epochs": 2}, {"shuffle_seed": None}])
def test_a_place_among_other_batches_is_refused(shards: tuple[Path, Manifest], changed: dict[str, int]) -> None:
    state = read(shards, shuffle_seed=5).state_dict()
    other = read(shards, **({"shuffle_seed": 5} | changed))
    with pytest.raises(ValueError, match="batch size, shuffle seed and epochs must be as they were"):
        other.load_state_dict(state)


def test_a_place_among_the_same_rows_of_other_data_is_refused(shards: tuple[Path, Manifest]) -> None:
    """Both days have as many rows, in parts of the same sizes."""
    options = ReaderOptions(32, CARDINALITIES, 0)
    first, second = (ShardReader(*shards, [day], options) for day in (0, 1))
    with pytest.raises(ValueError, match="among other batches: shards, days"):
        second.load_state_dict(first.state_dict())


def test_another_number_of_ranks_goes_on_from_the_same_place(shards: tuple[Path, Manifest]) -> None:
    whole = read(shards, shuffle_seed=5)
    batches = iter(whole)
    next(batches)
    halves = [read(shards, shuffle_seed=5, rank=rank, world_size=2) for rank in range(2)]
    for half in halves:
        half.load_state_dict(whole.state_dict())
    expected = next(batches)
    assert torch.equal(expected.dense, torch.cat([next(iter(half)).dense for half in halves]))


def test_epochs_in_order_repeat_the_rows(shards: tuple[Path, Manifest]) -> None:
    reader = read(shards, epochs=2)
    assert reader.total_rows == 2 * len(raw_rows(shards))
    assert np.array_equal(rows_of(reader), np.tile(raw_rows(shards), (2, 1)))


def test_a_batch_owns_its_numbers(shards: tuple[Path, Manifest]) -> None:
    before = raw_rows(shards)
    for batch in read(shards):
        batch.dense.zero_(), batch.labels.zero_(), batch.sparse.values().zero_()
    assert np.array_equal(raw_rows(shards), before)


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "OPEN_PARTS", 2)
    shards = tmp_path, write_shards(tmp_path, days=2, rows_per_part=(3,) * 20)
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = read(shards, batch_size=7, prefetch=0)
    most = max(len(list(Path("/proc/self/fd").iterdir())) for _ in reader)
    assert most - before <= 3 * 2 + 1
    assert np.array_equal(rows_of(reader), raw_rows(shards))


def test_a_missing_file_is_told_at_the_start(tmp_path: Path) -> None:
    shards = tmp_path, write_shards(tmp_path, days=2, rows_per_part=(9, 9))
    (tmp_path / "day=01/part-00001/label.npy").unlink()
    with pytest.raises(DataError, match=r"cannot read .*day=01/part-00001/label.npy"):
        read(shards)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_file_that_goes_while_reading_is_told_at_its_batch(tmp_path: Path, prefetch: int) -> None:
    shards = tmp_path, write_shards(tmp_path, days=2, rows_per_part=(8, 8))
    reader = read(shards, prefetch=prefetch)
    (tmp_path / "day=01/part-00000/label.npy").unlink()
    with pytest.raises(DataError, match=r"cannot read .*day=01/part-00000/label.npy"):
        list(reader)
    assert reader.position == 2, "the batches before it were handed out"


def test_the_thread_that_reads_ahead_ends_with_the_loop(shards: tuple[Path, Manifest]) -> None:
    for batch in read(shards, prefetch=2):
        assert batch.index == 0
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("load_ahead")]


@pytest.mark.parametrize(("cores", "gpu", "ahead"), [(1, False, 0), (2, False, 2), (1, True, 2)])
def test_nothing_is_read_ahead_on_a_single_core(cores: int, gpu: bool, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert ReaderOptions(8, (4,)).prefetch == ahead
    assert ReaderOptions(8, (4,), prefetch=1).prefetch == 1


def test_ids_wrap_around_capped_tables(shards: tuple[Path, Manifest]) -> None:
    capped = rows_of(read(shards, table_rows=(4, 7, 5)))
    expected = raw_rows(shards)
    expected[:, 2] %= 4
    assert np.array_equal(capped, expected)


def test_bad_sizes_are_refused_with_what_to_do(shards: tuple[Path, Manifest]) -> None:
    with pytest.raises(ValueError, match=r"batch_size = 8 cannot be cut evenly over 3 ranks; choose a multiple"):
        read(shards, shuffle_seed=0, world_size=3)
    with pytest.raises(ValueError, match=r"the days hold 146 rows, fewer than one batch of 147; lower the batch size"):
        read(shards, shuffle_seed=0, batch_size=147)
    with pytest.raises(ValueError, match="2 table sizes for 3 columns of ids"):
        read(shards, table_rows=(1, 2))
