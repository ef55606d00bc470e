"""A log read by one thread and by several: the same rows, bad rows and keys, in the same order, wherever blocks and parts end."""

from __future__ import annotations

import gzip
import threading
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep import criteo_rows, criteo_tsv, inputs
from data_prep.categorical import Encoder, ModuloEncoder
from data_prep.criteo_rows import CriteoRows
from data_prep.dense_transform import dense_transform
from data_prep.errors import DataError
from data_prep.schema import criteo_schema
from data_prep.shards import Part
from data_prep.sources import Encoding, KeyBlock, RowBlock

NUM_LINES, MOST_BAD = 300, 5
SCHEMA = criteo_schema(1000)


class OneMore:
    """An encoder the parser knows nothing of, so that it encodes column by column, some rows a call."""

    def encode(self, column: int, keys: NDArray[np.uint64], missing: NDArray[np.bool_]) -> NDArray[np.int32]:
        return (keys + 1).astype(np.int32)


ENCODERS: dict[str, Encoder] = {"modulo": ModuloEncoder(SCHEMA), "other": OneMore()}
SEVERAL = [2, 3, 5]

Told = list[tuple[int, str]]
"""The line of each bad row, counted over the whole log, and its text."""


def log_of(numbers: range) -> str:
    """A line a number, which its first integer and first id spell; about a third are bad, in runs."""
    rng, lines, bad = Random(len(numbers)), [], False
    for number in numbers:
        bad = bad ^ (rng.random() < 0.2)
        lines.append(f"bad {number}" if bad else "\t".join(["1", str(number), *["7"] * 12, f"{number:x}", *["a"] * 25]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some thirty blocks of about ten lines, more than a block has room for, or bad rows for."""
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 700)
    monkeypatch.setattr(criteo_rows, "BLOCK_ROWS", 7)
    for module in (criteo_rows, criteo_tsv):
        monkeypatch.setattr(module, "MAX_BAD_ROWS_A_CALL", MOST_BAD)
    monkeypatch.setattr(criteo_tsv, "KEY_ROWS_A_CALL", 4)
    path = tmp_path / "day_0"
    path.write_text(log_of(range(NUM_LINES)))
    return path


def open_log(log: Path, threads: int, encoder: str = "modulo") -> CriteoRows:
    return CriteoRows(log, Encoding(SCHEMA, ENCODERS[encoder], dense_transform("log1p")), threads)


def rows_of(log: Path, threads: int, encoder: str = "modulo") -> tuple[list[list[int]], Told, int]:
    """The first integer and id of each row, the bad rows, and the lines read."""
    rows, told, lines = list[list[int]](), Told(), 0

    def use(block: RowBlock) -> None:
        nonlocal lines
        assert len(block.bad) < 2 * MOST_BAD, "bad rows are handed on before they fill the memory"
        rows.extend(firsts(block.rows))
        told.extend((lines + bad.line, bad.text) for bad in block.bad)
        lines += block.lines

    with open_log(log, threads, encoder) as source:
        source.rows(use)
        assert source.position == log.stat().st_size
    return rows, told, lines


def firsts(part: Part) -> list[list[int]]:
    return np.stack([np.rint(np.expm1(part.dense[:, 0])), part.sparse[:, 0] - 1], axis=1).astype(int).tolist()


def keys_of(log: Path, threads: int) -> tuple[list[list[int]], Told, int]:
    keys, told, lines = list[list[int]](), Told(), 0

    def use(block: KeyBlock) -> None:
        nonlocal lines
        keys.extend([int(key)] for key in block.keys[0])
        told.extend((lines + bad.line, bad.text) for bad in block.bad)
        lines += block.lines

    with open_log(log, threads) as source:
        source.keys(use)
    return keys, told, lines


def test_one_thread_gives_the_rows_of_the_log(log: Path) -> None:
    text = log.read_text().splitlines()
    good = [number for number, line in enumerate(text) if not line.startswith("bad")]
    told = [(number, line) for number, line in enumerate(text) if line.startswith("bad")]
    assert 50 < len(told) < len(good)
    assert any(other == line + 8 for (line, _), (other, _) in zip(told, told[8:], strict=False)), "more bad rows running than a call takes"
    assert rows_of(log, 1) == ([[number, number] for number in good], told, NUM_LINES)
    assert keys_of(log, 1) == ([[number] for number in good], told, NUM_LINES)
    assert all(first[0] < second[0] for first, second in pairwise(told))


@pytest.mark.parametrize("threads", SEVERAL)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_several_threads_give_the_same(log: Path, threads: int, encoder: str) -> None:
    assert rows_of(log, threads, encoder) == rows_of(log, 1)


@pytest.mark.parametrize("threads", SEVERAL)
def test_several_threads_count_the_same_keys(log: Path, threads: int) -> None:
    assert keys_of(log, threads) == keys_of(log, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_end_when_reading_is_given_up(log: Path, threads: int) -> None:
    def give_up(_: RowBlock) -> None:
        raise DataError("enough")

    before = threading.active_count()
    with open_log(log, threads) as source, pytest.raises(DataError, match="enough"):
        source.rows(give_up)
    assert threading.active_count() == before


def test_a_damaged_log_is_told_after_the_rows_before_it(log: Path, tmp_path: Path) -> None:
    packed = gzip.compress(log.read_bytes())
    (path := tmp_path / "day_0.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="cut off at byte"):
        rows_of(path, 3)
