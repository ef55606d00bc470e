"""Compressed logs come out as they went in, read ahead in a thread that ends with the reader, and a damaged one is told."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from data_prep import decompress
from data_prep.decompress import BLOCKS_AHEAD, LogBytes
from data_prep.errors import DataError

TEXT = random.Random(0).randbytes(30_000) + bytes(200_000)
PACKS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress,
}


def log(folder: Path, suffix: str, *frames: bytes) -> Path:
    path = folder / f"day_0{suffix}"
    path.write_bytes(b"".join(PACKS[suffix](frame) for frame in frames))
    return path


def blocks(path: Path, block_bytes: int) -> list[bytes]:
    opened = LogBytes(path, block_bytes)
    try:
        found = []
        while block := opened.read():
            found.append(block)
        assert opened.read() == b"", "the end stays the end"
        assert opened.position == path.stat().st_size
        return found
    finally:
        opened.close()


@pytest.mark.parametrize("suffix", PACKS)
@pytest.mark.parametrize("block_bytes", [999, 1 << 16, 1 << 20])
def test_bytes_come_out_as_they_went_in(suffix: str, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "ZSTD_BYTES_A_CALL", 5000)
    assert b"".join(blocks(log(tmp_path, suffix, TEXT[:1000], TEXT[1000:]), block_bytes)) == TEXT


class Endless:
    """A stream that counts what is asked of it, and fails when told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reads = 0
        self.error = error

    def read(self, size: int) -> bytes:
        self.reads += 1
        if self.error and self.reads == 3:
            raise self.error
        return b"x" * size

    def close(self) -> None: ...


def opened_on(stream: Endless, folder: Path, monkeypatch: pytest.MonkeyPatch) -> LogBytes:
    monkeypatch.setattr(decompress, "_decompressed", lambda suffix, file: (stream, (EOFError,)))
    return LogBytes(log(folder, ".gz", b""), 10)


def test_reading_ahead_is_bounded_and_ends_with_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Endless()
    opened = opened_on(stream, tmp_path, monkeypatch)
    for _ in range(5):
        assert opened.read() == b"x" * 10
    opened.close()
    assert 5 <= stream.reads <= 5 + BLOCKS_AHEAD
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decompress")]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_what_the_thread_meets_is_raised_where_it_is_read_and_not_before(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opened_on(Endless(error), tmp_path, monkeypatch)
    assert [opened.read(), opened.read()] == [b"x" * 10] * 2
    with pytest.raises(type(error)):
        opened.read()
    opened.close()


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "not compressed", "cut within the first bytes"])
def test_a_damaged_file_is_told_after_its_sound_blocks(suffix: str, damage: str, tmp_path: Path) -> None:
    path = log(tmp_path, suffix, TEXT)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[20_000] ^= 0xFF
    short = {"cut": data[:-20], "flipped": data, "not compressed": b"plain text\n", "cut within the first bytes": data[:5]}
    path.write_bytes(bytes(short[damage]))
    with pytest.raises(DataError, match=r"day_0.* is damaged or cut off at byte \d+ \(.+\): fetch it again"):
        blocks(path, 1000)
