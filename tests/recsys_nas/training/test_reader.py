"""The reader returns every row once, the same work to every rank, and goes on where its state says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.shards import Manifest, open_part
from recsys_nas.training.reader import ReaderOptions, ShardReader
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


def test_shuffling_depends_on_the_seed_alone_and_differs_between_epochs(shards: tuple[Path, Manifest]) -> None:
    once, again, other = (rows_of(read(shards, shuffle_seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    epochs = rows_of(read(shards, shuffle_seed=1, epochs=2)).reshape(2, *once.shape)
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(np.sort(epochs[0], axis=0), np.sort(epochs[1], axis=0))


def test_a_restored_reader_goes_on_with_the_remaining_batches(shards: tuple[Path, Manifest]) -> None:
    undisturbed = [batch.labels for batch in read(shards, shuffle_seed=5)]
    interrupted = read(shards, shuffle_seed=5)
    batches = iter(interrupted)
    for _ in range(4):
        next(batches)
    resumed = read(shards, shuffle_seed=5)
    resumed.load_state_dict(interrupted.state_dict())
    remaining = [(batch.index, batch.labels) for batch in resumed]
    assert [index for index, _ in remaining] == list(range(4, len(undisturbed)))
    assert all(torch.equal(labels, expected) for (_, labels), expected in zip(remaining, undisturbed[4:], strict=True))


def test_ids_wrap_around_capped_tables(shards: tuple[Path, Manifest]) -> None:
    capped = rows_of(read(shards, table_rows=(4, 7, 5)))
    expected = raw_rows(shards)
    expected[:, 2] %= 4
    assert np.array_equal(capped, expected)


def test_bad_sizes_are_refused_with_what_to_do(shards: tuple[Path, Manifest]) -> None:
    with pytest.raises(ValueError, match=r"batch_size = 8 cannot be cut evenly over 3 ranks; choose a multiple"):
        read(shards, shuffle_seed=0, world_size=3)
    with pytest.raises(ValueError, match=r"fewer rows than one batch of 64; lower the batch size"):
        read(shards, shuffle_seed=0, batch_size=64)
