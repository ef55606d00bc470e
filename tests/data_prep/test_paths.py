"""Inputs by URI: a handler for `test://` that maps to a local folder stands for a remote store."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_prep import paths
from data_prep.errors import DataError
from data_prep.inputs import LogFile, find_days, find_logs, local_log
from tests.data_prep.folder_handler import FolderHandler


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderHandler]:
    handler = FolderHandler(tmp_path / "store")
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    paths.register_handler(handler)
    yield handler
    paths._handlers.clear()
    paths._manager.cache_clear()


def test_patterns_are_matched_in_the_store(store: FolderHandler) -> None:
    for name in ("day_1.gz", "day_0", "other", "_SUCCESS"):
        (store.folder / "bucket" / name).write_bytes(b"x" * 7)
    logs = find_logs(["test://bucket/day_*", "test://bucket/day_0"])
    assert logs == (LogFile(Path("day_0"), 7, "test://bucket/day_0"), LogFile(Path("day_1.gz"), 7, "test://bucket/day_1.gz"))
    assert [(source.day, str(source)) for source in find_days(["test://bucket/day_*"])] == [
        (0, "test://bucket/day_0"),
        (1, "test://bucket/day_1.gz"),
    ]
    assert [log.path.name for log in find_logs(["test://bucket/*"])] == ["day_0", "day_1.gz", "other"]


def test_a_log_is_fetched_and_removed_again(store: FolderHandler, tmp_path: Path) -> None:
    (store.folder / "bucket" / "day_0").write_bytes(b"abc")
    (log,) = find_logs(["test://bucket/day_0"])
    work = tmp_path / "work"
    work.mkdir()
    with local_log(log, work) as local:
        assert (local.path.name, local.path.read_bytes(), local.uri) == ("day_0", b"abc", "")
        assert work in local.path.parents
    assert list(work.iterdir()) == []
    assert not store.fetched[0].exists()
    assert (store.folder / "bucket" / "day_0").exists()


def test_a_local_log_is_read_where_it_lies(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "day_0", 3)
    with local_log(log, tmp_path) as local:
        assert local is log


def test_no_room_for_a_log_is_told_before_it_is_fetched(store: FolderHandler, tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"needs about .* GB and its disk has"),
        local_log(LogFile(Path("day_0"), 1 << 60, "test://b/d"), tmp_path),
    ):
        pass
    assert store.fetched == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("test://bucket/nothing*", "no file matches test://bucket/nothing"),
        ("test://bucket/day_9", "test://bucket/day_9 is not a file there"),
        ("test://no/day_*", "test://no cannot be listed: FileNotFoundError"),
        ("test://b*/day_0", "only the last part can be a pattern"),
    ],
)
def test_each_fault_of_a_store_is_one_line(pattern: str, message: str, store: FolderHandler) -> None:
    with pytest.raises(DataError, match=message.replace("*", ".*")):
        find_logs([pattern])


def test_sizes_are_asked_of_a_handler_that_knows_them(store: FolderHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.folder / "bucket" / "day_0").write_bytes(b"abc")
    monkeypatch.setattr(store, "file_size", lambda uri: 11, raising=False)
    assert find_logs(["test://bucket/day_0"])[0].size == 11


def test_s3_is_iopaths_own_handler_once_boto3_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 itself is stood in for: what matters is the handler, its profile, and how keys and sizes are read."""
    pages = [{"Contents": [{"Key": "logs/day_0.gz"}, {"Key": "logs/"}], "CommonPrefixes": [{"Prefix": "logs/old/"}]}]

    class Client:
        def head_object(self, Bucket: str, Key: str) -> dict[str, int]:
            return {"ContentLength": 5} if (Bucket, Key) == ("bucket", "logs/day_0.gz") else {}

        def get_paginator(self, name: str) -> Client:
            return self

        def paginate(self, **asked: str) -> list[dict[str, Any]]:
            assert asked == {"Bucket": "bucket", "Prefix": "logs/", "Delimiter": "/"}
            return pages

        def download_file(self, bucket: str, key: str, path: str, Config: Any) -> None:
            Path(path).write_bytes(b"12345")

    def session(profile_name: str | None) -> Any:
        assert profile_name is None
        return types.SimpleNamespace(client=lambda kind: Client())

    boto3 = types.ModuleType("boto3")
    boto3.Session = session  # type: ignore[attr-defined]
    transfer = types.ModuleType("boto3.s3.transfer")
    transfer.TransferConfig = dict  # type: ignore[attr-defined]
    for name, module in {"boto3": boto3, "boto3.s3": types.ModuleType("boto3.s3"), "boto3.s3.transfer": transfer}.items():
        monkeypatch.setitem(sys.modules, name, module)
    import iopath.common.s3

    monkeypatch.setattr(iopath.common.s3, "boto3", boto3)
    monkeypatch.setattr(iopath.common.s3, "botocore", types.SimpleNamespace(exceptions=types.SimpleNamespace(ClientError=OSError)))
    paths._manager.cache_clear()
    try:
        (log,) = find_logs(["s3://bucket/logs/day_*"])
        assert log == LogFile(Path("day_0.gz"), 5, "s3://bucket/logs/day_0.gz")
        with local_log(log, tmp_path) as local:
            assert local.path.read_bytes() == b"12345"
            assert tmp_path in local.path.parents
        assert list(tmp_path.iterdir()) == []
    finally:
        paths._manager.cache_clear()
