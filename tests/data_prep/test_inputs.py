"""Which file is which day, and lines that arrive whole however the bytes come."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from data_prep import inputs
from data_prep.errors import DataError
from data_prep.inputs import LogFile, LogReader, day_in_name, days_by_name, find_days, find_logs

TEXT = b"".join(b"line %d\n" % number for number in range(1000))


@pytest.mark.parametrize(
    ("name", "day"), [("day_3", 3), ("day_3.gz", 3), ("day=03.tsv", 3), ("day-12.zst", 12), ("day7.csv", 7), ("day_1_day_2", 2)]
)
def test_the_day_comes_from_the_file_name(name: str, day: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"abc")
    assert [(source.day, source.files[0].path.name, source.size) for source in find_days([str(tmp_path / "*")])] == [(day, name, 3)]


def test_days_are_sorted_by_number_and_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    for name in ("day_10", "day_2", ".day_3.tmp", "_SUCCESS"):
        (tmp_path / name).touch()
    assert [file.day for file in find_days([f"{tmp_path}/*", f"{tmp_path}/day_2"])] == [2, 10]


def test_a_file_is_one_however_spelled_and_brackets_in_its_path_are_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run [1]").mkdir()
    monkeypatch.chdir(tmp_path)
    (log := tmp_path / "run [1]/day_0").write_text("x")
    logs = find_logs(["run [1]/day_0", str(log), "run [[]1]/day_*", "run [1]/../run [1]/day_0"])
    assert [str(file) for file in logs] == ["run [1]/day_0"]


def test_logs_of_one_name_in_two_folders_of_a_store_are_two() -> None:
    logs = [LogFile(Path("day_0.gz"), 5, f"s3://{bucket}/day_0.gz") for bucket in ("eu", "us")]
    assert [str(log) for log in days_by_name(logs, day_in_name)[0].files] == ["s3://eu/day_0.gz", "s3://us/day_0.gz"]
    with pytest.raises(DataError, match="are the same log twice"):
        days_by_name([*logs, LogFile(Path("day_0"), 9, "s3://eu/day_0")], day_in_name)


def test_each_bad_input_has_its_message(tmp_path: Path) -> None:
    for name in ("day_1", "day_1.gz", "train.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    for pattern, message in {
        f"{tmp_path}/nothing*": "no file matches",
        f"{tmp_path}/day*": "day_1 and .*day_1.gz are the same log twice",
        f"{tmp_path}/train.txt": "no day in its name; call it day_0",
        f"{tmp_path}/folder": "is not a file",
        "s3://bucket/day_0": r"s3://bucket/day_0: nothing here can read s3://; install boto3",
        "abfs://x/day_*": r"nothing here can read abfs://; install a package with a handler",
        "file://day_0": "needs a whole path",
    }.items():
        with pytest.raises(DataError, match=message):
            find_days([pattern])


def test_a_day_may_have_several_logs_and_a_file_uri_is_a_path(tmp_path: Path) -> None:
    for name in ("day_0_a.csv", "day_0_b.csv.gz", "day_1"):
        (tmp_path / name).write_bytes(b"x" * 5)
    sources = find_days([f"file://{tmp_path}/day_*"])
    assert [(source.day, [log.path.name for log in source.files], source.size) for source in sources] == [
        (0, ["day_0_a.csv", "day_0_b.csv.gz"], 10),
        (1, ["day_1"], 5),
    ]
    assert str(sources[0]) == f"{tmp_path}/day_0_a.csv and 1 more"


def read(path: Path, longest_line: int = 100) -> list[bytes]:
    with LogReader(path) as reader:
        blocks = [bytes(block) for block in reader.blocks(longest_line)]
        assert reader.position == path.stat().st_size
    return blocks


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_lines_arrive_whole(block_bytes: int, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", block_bytes)
    path = tmp_path / f"day_0{suffix}"
    packs: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
    pack = packs[suffix]
    path.write_bytes(pack(TEXT[:3000]) + pack(TEXT[3000:-1]))
    blocks = read(path)
    assert b"".join(blocks) == TEXT
    assert all(block.endswith(b"\n") for block in blocks)


def test_an_endless_line_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 64)
    path = tmp_path / "day_0"
    path.write_bytes(b"a\n" + b"x" * 5000 + b"\nb\n")
    first, long, last = b"".join(read(path)).splitlines()
    assert (first, last) == (b"a", b"b")
    assert 100 < len(long) < 300


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "day_0").touch()
    assert read(tmp_path / "day_0") == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "not compressed"])
def test_a_damaged_file_is_told(suffix: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"day_0{suffix}"
    data = bytearray(gzip.compress(TEXT) if suffix == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    if damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    path.write_bytes({"cut": bytes(data[:-20]), "flipped": bytes(data), "not compressed": b"plain text"}[damage])
    with pytest.raises(DataError, match=r"day_0.* is damaged or cut off at byte .*: fetch it again"):
        read(path)
