"""Single rows in an order of their own for every epoch: each row once, with its own lists, the same again from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.shards import open_manifest, open_part
from recsys_nas.training.reader import ReaderOptions, ShardReader
from recsys_nas.training.row_shuffle import ShuffledRows
from tests.fabricated_shards import write_shards


def reader_of(root: Path, seed: int | None, epochs: int = 2, lists: bool = True, world: tuple[int, int] = (0, 1)) -> ShardReader:
    write_shards(root, days=2, rows_per_part=(60, 45), lists=lists) if not root.exists() else None
    manifest = open_manifest(root)
    rows = [feature.num_embeddings for feature in manifest.schema.categorical]
    return ShardReader(root, manifest, [0, 1], ReaderOptions(20, rows, seed, True, epochs, *world))


def rows_of(reader: ShardReader) -> list[tuple[float, ...]]:
    """Each row's numbers, ids and list."""
    rows: list[tuple[float, ...]] = []
    for batch in reader:
        jagged = batch.sparse.to_dict()
        for row in range(len(batch.labels)):
            ids = [tuple(jagged[key].values()[jagged[key].offsets()[row] : jagged[key].offsets()[row + 1]].tolist()) for key in jagged]
            rows.append((*batch.dense[row].tolist(), float(batch.labels[row]), *map(str, ids)))  # type: ignore[arg-type]
    return rows


def test_every_epoch_has_each_row_once_in_another_order(tmp_path: Path) -> None:
    root = tmp_path / "shards"
    reader = reader_of(root, seed=3)
    # 210 rows make 10 batches of 20 an epoch; the rest is left out, other rows in each.
    assert (len(reader), reader.epoch_ends, reader.total_rows) == (20, (10, 20), 400)
    drawn = rows_of(reader)
    first, second = drawn[:200], drawn[200:]
    assert first != second
    in_order = rows_of(ShardReader(root, open_manifest(root), [0, 1], ReaderOptions(30, reader.options.table_rows)))
    assert len(set(in_order)) > 200
    for epoch in (first, second):
        assert set(epoch) <= set(in_order)
        assert len(set(epoch)) > 190
    assert rows_of(reader_of(root, seed=3)) == drawn
    assert rows_of(reader_of(root, seed=4)) != drawn


def test_a_reader_goes_on_where_another_stopped_and_refuses_another_order(tmp_path: Path) -> None:
    root = tmp_path / "shards"
    reader = reader_of(root, seed=3)
    whole = rows_of(reader)
    list(reader.until(13))
    other = reader_of(root, seed=3)
    other.load_state_dict(reader.state_dict())
    assert rows_of(other) == whole[13 * 20 :]
    with pytest.raises(ValueError, match="shuffle seed"):
        reader_of(root, seed=4).load_state_dict(reader.state_dict())


def test_two_ranks_share_the_rows_of_one(tmp_path: Path) -> None:
    root = tmp_path / "shards"
    alone = rows_of(reader_of(root, seed=3, epochs=1))
    ranks = [rows_of(reader_of(root, seed=3, epochs=1, world=(rank, 2))) for rank in (0, 1)]
    steps = [alone[start : start + 20] for start in range(0, 200, 20)]
    halves = [ranks[0][10 * n : 10 * n + 10] + ranks[1][10 * n : 10 * n + 10] for n in range(10)]
    assert halves == steps


def test_lists_stay_with_their_rows(tmp_path: Path) -> None:
    write_shards(tmp_path, days=1, rows_per_part=(60, 45), lists=True)
    manifest = open_manifest(tmp_path)
    parts = [open_part(tmp_path, part) for part in manifest.day(0).parts]
    lists = [
        part.jagged[name].values[a:b].tolist() for part in parts for name in part.jagged for a, b in _bounds(part.jagged[name].offsets)
    ]
    shuffled = ShuffledRows(parts, seed=1, spans=[(0, 105)]).epoch(4)
    (name,) = shuffled.jagged
    order = np.random.Generator(np.random.Philox([1, 4])).permutation(105)
    got = [shuffled.jagged[name].values[a:b].tolist() for a, b in _bounds(shuffled.jagged[name].offsets)]
    assert got == [lists[row] for row in order]
    assert max(map(len, got)) > 1


def _bounds(offsets: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
