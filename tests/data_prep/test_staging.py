"""Days brought to a local disk: only those asked for, whole and checked, used again, and giving way to each other when it is short."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep import paths, staging
from data_prep.errors import DataError
from data_prep.shards import Manifest, open_manifest, open_part
from data_prep.staging import digest, staged
from tests.data_prep.folder_handler import FolderHandler
from tests.fabricated_shards import write_shards

URI = "test://bucket/shards"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderHandler]:
    """Four days of two parts in a remote store."""
    handler = FolderHandler(tmp_path / "store")
    write_shards(tmp_path / "store/bucket/shards", days=4, rows_per_part=(30, 10))
    paths.register_handler(handler)
    yield handler
    paths._handlers.clear()
    paths._manager.cache_clear()


@pytest.fixture
def manifest(store: FolderHandler) -> Manifest:
    return open_manifest(URI)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npy"))


def test_only_the_days_of_a_job_are_fetched(store: FolderHandler, manifest: Manifest, tmp_path: Path) -> None:
    assert len(manifest.days) == 4
    with staged(URI, manifest, [1], str(tmp_path / "scratch")) as root:
        assert root == tmp_path / "scratch" / digest(manifest)
        assert files(root) == [f"day=01/part-0000{part}/{name}.npy" for part in (0, 1) for name in ("dense", "label", "sparse")]
        here, there = (open_part(where, manifest.day(1).parts[0]) for where in (root, store.folder / "bucket/shards"))
        assert (here.dense == there.dense).all()
        assert (here.sparse == there.sparse).all()
    assert {path.name for path in root.iterdir()} == {"day=01", "day=01.lock", ".day=01.fetching"}
    assert {path.name for path in (root / "day=01").iterdir()} == {"part-00000", "part-00001"}, "nothing half fetched is left"


def test_a_second_attempt_fetches_only_what_is_not_right(store: FolderHandler, manifest: Manifest, tmp_path: Path) -> None:
    scratch = str(tmp_path / "scratch")
    with staged(URI, manifest, [1], scratch) as root:
        pass
    first, other = root / "day=01/part-00000/dense.npy", root / "day=01/part-00001/label.npy"
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    other.unlink()
    (root / "day=01/part-00000/.incoming-label.npy").write_bytes(b"of a job that was killed")
    (root / "day=01/.fetched-killed").mkdir()
    store.fetched.clear()
    with staged(URI, manifest, [1], scratch, check=False):
        assert [path.name for path in store.fetched] == ["label.npy"], "not checked, where another rank of the node checks"
    with staged(URI, manifest, [1], scratch):
        assert [path.name for path in store.fetched] == ["label.npy", "dense.npy"]
    assert not [path for path in root.rglob("*") if "incoming" in path.name or "fetched" in path.name]


def test_local_shards_are_read_in_place_or_copied(store: FolderHandler, manifest: Manifest, tmp_path: Path) -> None:
    shards = store.folder / "bucket/shards"
    with staged(str(shards), manifest, [0], "") as root:
        assert root == shards
    with staged(f"file://{shards}", manifest, [0], str(tmp_path / "scratch")) as root:
        assert len(files(root)) == 6
    assert len(files(shards)) == 24, "the originals stay"
    assert [path.name for path in store.fetched] == ["manifest.json"]


def test_damage_in_the_store_is_told(store: FolderHandler, manifest: Manifest, tmp_path: Path) -> None:
    damaged = store.folder / "bucket/shards/day=02/part-00001/sparse.npy"
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    with pytest.raises(DataError, match=r"test://bucket/shards/day=02/part-00001/sparse.npy is not what the manifest says"):
        staged(URI, manifest, [2], str(tmp_path / "scratch")).__enter__()
    damaged.unlink()
    with pytest.raises(OSError, match=r"sparse.npy cannot be fetched"):  # which is tried again
        staged(URI, manifest, [2], str(tmp_path / "scratch")).__enter__()


def test_a_short_disk_first_loses_days_that_nobody_reads(
    store: FolderHandler, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    day_bytes = sum(path.stat().st_size for path in (store.folder / "bucket/shards/day=00").rglob("*.npy"))
    room_for_two = 2 * day_bytes

    def usage(path: Path) -> Usage:
        used = sum(path.stat().st_size for path in scratch.rglob("*.npy"))
        return Usage(room_for_two, used, room_for_two - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for day in (1, 0):
        with staged(URI, manifest, [day], str(scratch)):
            pass
    with staged(URI, manifest, [0], str(scratch)) as root, staged(URI, manifest, [2], str(scratch)):
        assert sorted(path.name for path in root.glob("day=??")) == ["day=00", "day=02"], "day 1 was used last before day 0"
        store.fetched.clear()
        with pytest.raises(DataError, match=rf"data.staging = {scratch}: day 3 needs .* GB more and the disk has 0 GB free; make room"):
            staged(URI, manifest, [3], str(scratch)).__enter__()
        assert store.fetched == [], "told before anything is fetched"


def test_what_cannot_be_staged(store: FolderHandler, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test://bucket/shards is not on this machine: set data.staging to a local folder"):
        staged(URI, manifest, [0], "").__enter__()
    write_shards(store.folder / "bucket/lists", days=1, rows_per_part=(10,), lists=True)
    with pytest.raises(DataError, match="lists of seen needs all days"):
        staged("test://bucket/lists", open_manifest("test://bucket/lists"), [0], str(tmp_path)).__enter__()
    with staged(str(store.folder / "bucket/lists"), open_manifest("test://bucket/lists"), [0], str(tmp_path / "scratch")) as root:
        assert len(files(root)) == 5
    with pytest.raises(DataError, match=r"no shards in test://bucket/nowhere: manifest\.json is missing"):
        open_manifest("test://bucket/nowhere")


def test_sizes_follow_from_the_manifest(store: FolderHandler, manifest: Manifest) -> None:
    shards = store.folder / "bucket/shards"
    for part in manifest.days[0].parts:
        for name in part.sha256:
            assert staging._size(URI, manifest.schema, part, name) == (shards / part.path / name).stat().st_size
