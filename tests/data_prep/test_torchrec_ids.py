"""Sparse ids against TorchRec's own: its converter, and the modulo of its datapipe, on made rows and on real ones.

TorchRec gives a missing cell the id of the hex digits 0, and takes keys modulo `hashes`. Ours has an id of its own for missing
cells, which shifts all others by one. So with `buckets` = `hashes` + 1, TorchRec's id is ours - 1, and 0 where ours is 0.
"""

from __future__ import annotations

import gzip
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.cli import main
from data_prep.shards import open_manifest, open_part
from tests.data_prep.test_criteo_tsv import usual_row

HASHES = 1000


def torchrec_ids(log: Path, folder: Path) -> NDArray[np.int32]:
    """What TorchRec's converter and datapipe make of a log, [R, 26]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchrec.datasets.criteo import BinaryCriteoUtils, InMemoryBinaryCriteoIterDataPipe

        paths = [str(folder / f"{name}.npy") for name in ("dense", "sparse", "label")]
        BinaryCriteoUtils.tsv_to_npys(str(log), *paths)
        lists = [[path] for path in paths]
        pipe = InMemoryBinaryCriteoIterDataPipe("train", *lists, batch_size=1, rank=0, world_size=1, hashes=[HASHES] * 26)
    ids: NDArray[np.int32] = pipe.sparse_arrs[0]
    return ids


def our_ids(log: Path, folder: Path) -> NDArray[np.int32]:
    (day := folder / "day_0").symlink_to(log)
    words = ["--input", str(day), "--out", str(folder / "shards"), "--buckets", str(HASHES + 1), "--max-bad-share", "0", "--workers", "1"]
    assert main(["run", *words]) == 0
    (entry,) = open_manifest(folder / "shards").days
    return np.concatenate([open_part(folder / "shards", part).sparse for part in entry.parts])


def assert_related(log: Path, folder: Path) -> None:
    cells = [line.split("\t")[14:] for line in log.read_text().splitlines()]
    theirs, ours = torchrec_ids(log, folder), our_ids(log, folder)
    assert ours.tolist() == [[1 + int(cell, 16) % HASHES if cell else 0 for cell in row] for row in cells]
    np.testing.assert_array_equal(theirs, np.maximum(ours - 1, 0))


@settings(max_examples=8, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=20),
    edges=st.lists(st.tuples(st.integers(14, 39), st.sampled_from(["", "0", "ffffffff", "80000000", "7fffffff", "DEADBEEF", "3e7"]))),
)
def test_ids_of_made_rows(seeds: list[int], edges: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("made")
    rows = [usual_row(seed) for seed in seeds]
    for number, (column, cell) in enumerate(edges):
        rows[number % len(rows)][column] = cell
    (log := folder / "log").write_text("".join("\t".join(row) + "\n" for row in rows))
    assert_related(log, folder)


@pytest.mark.skipif("CRITEO_SAMPLES" not in os.environ, reason="CRITEO_SAMPLES names no folder of real Criteo logs")
def test_ids_of_real_rows(tmp_path: Path) -> None:
    for number, path in enumerate(sorted(Path(os.environ["CRITEO_SAMPLES"]).iterdir())):
        (folder := tmp_path / str(number)).mkdir()
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        (log := folder / "log").write_text("".join(f"{line}\n" for line in text.splitlines()[:20_000]))
        assert_related(log, folder)
