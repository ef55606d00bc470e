"""The bytes of a log as fast as they can be had: compressed ones are decompressed in a thread of their own, ahead of the parser.

Both decompressors release the interpreter's lock, as the compiled parser does, so that a compressed log takes as long as
decompressing it, or as parsing it, and not the sum. gzip goes through ISA-L, the fastest of those that are kept up
(docs/benchmarks.md has the comparison).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from gzip import BadGzipFile
from pathlib import Path
from typing import IO, Any, Protocol, cast

from data_prep.errors import DataError

BLOCKS_AHEAD = 4
ZSTD_BYTES_A_CALL = 1 << 16
"""Compressed bytes decompressed at once; few, since they may be any number of bytes once decompressed."""


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class LogBytes:
    """A log opened for reading from its start to its end, decompressed when its name ends in .gz or .zst.

    `position` is how many bytes of the file on disk were read to give what `read` has returned.
    """

    def __init__(self, path: Path, block_bytes: int) -> None:
        self.position = 0
        self._path = path
        self._block_bytes = block_bytes
        self._file = path.open("rb", buffering=0)
        self._stream, self._damage = _decompressed(path.suffix, self._file)
        self._blocks: deque[Future[tuple[bytes, int]]] = deque()
        self._thread = None if self._stream is self._file else ThreadPoolExecutor(1, "decompress")

    def read(self) -> bytes:
        """The next block, of `block_bytes` bytes or about as many; empty at the end.

        Raises DataError when a compressed file is damaged or cut off.
        """
        try:
            data, self.position = self._next() if self._thread is None else self._next_decompressed(self._thread)
        except self._damage as error:
            raise DataError(f"{self._path} is damaged or cut off at byte {self.position} ({error}): fetch it again") from error
        return data

    def unread(self, size: int) -> bool:
        """Whether the last `size` bytes will be read again: those of a plain file will, which saves copying them."""
        if self._thread is None:
            self._file.seek(-size, 1)
        return self._thread is None

    def _next(self) -> tuple[bytes, int]:
        return self._stream.read(self._block_bytes), self._file.tell()

    def _next_decompressed(self, thread: ThreadPoolExecutor) -> tuple[bytes, int]:
        while len(self._blocks) <= BLOCKS_AHEAD:
            self._blocks.append(thread.submit(self._next))
        return self._blocks.popleft().result()

    def close(self) -> None:
        """Let go of the file, wherever reading has come to."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._stream.close()
        self._file.close()


class _ZstdStream:
    """Reads a .zst file of one or more frames; unlike zstandard's own reader it tells a file that was cut off."""

    def __init__(self, file: IO[bytes]) -> None:
        from zstandard import ZstdDecompressor

        self._file = file
        self._decompressor = ZstdDecompressor()
        self._frame: Any = None
        self._rest = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes or somewhat more; fewer only at the end. EOFError when the file is cut off, ZstdError when damaged."""
        texts: list[bytes] = []
        while size > 0 and (data := self._rest or self._file.read(ZSTD_BYTES_A_CALL)):
            self._frame = self._frame or self._decompressor.decompressobj()
            texts.append(self._frame.decompress(data))
            size -= len(texts[-1])
            self._rest = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        if size > 0 and self._frame:
            raise EOFError("the last frame has no end")
        return b"".join(texts)

    def close(self) -> None:
        self._frame = None


def _decompressed(suffix: str, file: IO[bytes]) -> tuple[_Stream, tuple[type[Exception], ...]]:
    """The stream to read and what it raises when the file is damaged. Each library loads only when it is asked for."""
    if suffix == ".gz":
        from isal import igzip
        from isal.isal_zlib import IsalError

        return igzip.GzipFile(fileobj=file), (EOFError, BadGzipFile, cast(type[Exception], IsalError))  # its stubs call it an instance
    if suffix == ".zst":
        from zstandard import ZstdError

        return _ZstdStream(file), (EOFError, ZstdError)
    return file, ()
