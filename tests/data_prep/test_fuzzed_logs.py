"""A thousand damaged logs: never a traceback, never a row other than those that plain Python keeps, never a bad row uncounted."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data_prep import criteo_tsv, inputs
from data_prep.cli import main
from data_prep.shards import open_manifest, open_part

BUCKETS = 97
NUM_LOGS = {"modulo": 1000, "frequency": 100}
LONGEST = 1 << 16


Row = tuple[int, list[float], list[int | None]]


@dataclass(frozen=True)
class Kept:
    """The rows that plain Python keeps of a log (label, transformed integers, keys or None), and the lines, from 1, that it leaves out."""

    rows: list[Row]
    bad_lines: list[int]


def oracle(data: bytes) -> Kept:
    """The rules of the format, cell by cell."""
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    rows: list[Row] = []
    bad = []
    for number, line in enumerate(lines, start=1):
        row = parsed(line)
        if row is None:
            bad.append(number)
        else:
            rows.append(row)
    return Kept(rows, bad)


def parsed(line: bytes) -> Row | None:
    if len(line) > LONGEST:
        return None
    cells = re.sub(rb"\r\Z", b"", line).split(b"\t")
    if len(cells) != 40 or cells[0] not in (b"0", b"1"):
        return None
    dense: list[float] = []
    keys: list[int | None] = []
    for cell in cells[1:14]:
        digits = re.sub(rb"\A(-?)0+(?=[0-9])", rb"\1", cell) or b"0"  # Python takes no number of more than 4300 digits
        if not re.fullmatch(rb"-?[0-9]{1,10}", digits) or not -(2**31) <= int(digits) < 2**31:
            return None
        dense.append(math.log(1 + max(int(digits), 0)))
    for cell in cells[14:]:
        if not re.fullmatch(rb"[0-9a-fA-F]{0,8}", cell):
            return None
        keys.append(int(cell, 16) if cell else None)
    return int(cells[0]), dense, keys


def ids(rows: list[Row], hashing: str) -> list[list[int]]:
    """What the keys become: by modulo, or by a vocabulary of those that occur twice."""
    if hashing == "modulo":
        return [[0 if key is None else 1 + key % (BUCKETS - 1) for key in row[2]] for row in rows]
    columns = []
    for column in zip(*(row[2] for row in rows), strict=True):
        counts = Counter(key for key in column if key is not None)
        frequent = [key for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= 2]
        known = {key: 2 + place for place, key in enumerate(frequent)}
        columns.append([0 if key is None else known.get(key, 1) for key in column])
    return [list(row) for row in zip(*columns, strict=True)]


def good_log(rng: random.Random) -> bytes:
    def row() -> str:
        integers = ["" if rng.random() < 0.2 else str(int(rng.paretovariate(0.5)) % 2**31 - 2) for _ in range(13)]
        return "\t".join([rng.choice("01"), *integers, *("" if rng.random() < 0.2 else f"{rng.getrandbits(32):08x}" for _ in range(26))])

    return "".join(row() + "\n" for _ in range(rng.randint(1, 8))).encode()


ODD = [b"\0", b"\r", b"\n", b"\t", b"\r\n", b"-", b"2147483648", b"-2147483648", b"-2147483649", b"9" * 25, b"g", b"0x", b" ", b"\xff"]
LIMITS = [b"2147483647", b"2147483648", b"-2147483648", b"-2147483649", b"ffffffff", b"100000000"]
ODD += [b"123456789", b"", b"0", b"-1", b"1.5", b"00000000", b"FFFFFFFF"]


def mutate_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 5)):
        data[rng.randrange(len(data))] = rng.choice([rng.randrange(256), *b"\0\t\n\r-09afAF"])


def insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice([*ODD, rng.randbytes(rng.randint(1, 9))])


def delete(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 1, 1, 3, 300])]


def cut_end(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def drop_last_newline(data: bytearray, rng: random.Random) -> None:
    del data[-1:]


def windows_line_ends(data: bytearray, rng: random.Random) -> None:
    data[:] = data.replace(b"\n", b"\r\n")


def overlong(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.choice([b"0", b"7", b"\t", b"x"]) * rng.choice([300, LONGEST - 400, LONGEST, LONGEST + 500, 200_000])


def swap_cells(data: bytearray, rng: random.Random) -> None:
    cells = bytes(data).split(b"\t")
    rng.shuffle(cells)
    data[:] = b"\t".join(cells)


def replace_a_cell(data: bytearray, rng: random.Random) -> None:
    pieces = re.split(rb"([\t\n])", bytes(data))
    cells = range(0, len(pieces), 2)
    pieces[rng.choice(cells)] = rng.choice(ODD if rng.random() < 0.5 else LIMITS)
    data[:] = b"".join(pieces)


def random_bytes(data: bytearray, rng: random.Random) -> None:
    data[:] = rng.randbytes(rng.randint(0, 3000))


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(mutate_bytes, insert, insert, delete, cut_end, drop_last_newline, windows_line_ends, overlong, swap_cells, replace_a_cell),
    *(replace_a_cell, replace_a_cell, random_bytes),
)


def damaged_log(rng: random.Random) -> bytes:
    data = bytearray(good_log(rng))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        if data:
            rng.choice(DAMAGE)(data, rng)
    return bytes(data)


def decompressed(data: bytes) -> bytes | None:
    """What the standard library makes of gzip, or None for a file that is cut off or damaged."""
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error):
        return None


def packed(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The log as it lies on disk, now and then compressed, and that cut off or damaged."""
    if rng.random() < 0.7:
        return "", data
    file = bytearray(gzip.compress(data, mtime=0))
    match rng.randrange(4):
        case 0:
            del file[rng.randrange(len(file)) :]
        case 1:
            file[rng.randrange(len(file))] ^= 1 << rng.randrange(8)
    return ".gz", bytes(file)


@pytest.mark.parametrize("hashing", ["modulo", "frequency"])
def test_damaged_logs_give_the_rows_of_plain_python_or_one_line(
    hashing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each log is a run of its own, by one thread or two; blocks of a few hundred bytes, so that lines meet their edges."""
    rng = random.Random(hashing)
    monkeypatch.setattr(criteo_tsv, "KEY_ROWS_A_CALL", 3)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    refused = 0
    for number in range(NUM_LOGS[hashing]):
        monkeypatch.setattr(inputs, "BLOCK_BYTES", rng.choice([50, 333, 1 << 20]))
        suffix, data = packed(damaged_log(rng), rng)
        (path := tmp_path / f"day_{number}{suffix}").write_bytes(data)
        plain = decompressed(data) if suffix else data
        kept = Kept([], []) if plain is None else oracle(plain)
        out = tmp_path / f"out{number}"
        rules = ["--buckets", str(BUCKETS)] if hashing == "modulo" else ["--hash", "frequency", "--threshold", "2"]
        rules += ["--max-bad-share", "1", "--part-rows", "3", "--workers", rng.choice("12")]
        code = main(["run", "--input", str(path), "--out", str(out), *rules])
        said = capsys.readouterr().err
        if not kept.rows:
            refused += 1
            assert code == 2, (number, said)
            assert "Traceback" not in said
            assert said.splitlines()[-1].startswith("error: ")
            assert ("cut off" if plain is None else "no usable row") in said.splitlines()[-1]
        else:
            assert code == 0, (number, said)
            assert_kept(out, kept, hashing)
    assert NUM_LOGS[hashing] / 20 < refused < NUM_LOGS[hashing] / 2


def assert_kept(out: Path, kept: Kept, hashing: str) -> None:
    (day,) = open_manifest(out).days
    parts = [open_part(out, part) for part in day.parts]
    assert (day.rows, day.bad_rows) == (len(kept.rows), len(kept.bad_lines))
    assert [int(label) for part in parts for label in part.label[:, 0]] == [row[0] for row in kept.rows]
    dense = np.concatenate([part.dense for part in parts])
    np.testing.assert_allclose(dense, np.array([row[1] for row in kept.rows], np.float32), rtol=2e-7)
    sparse = np.concatenate([part.sparse for part in parts])
    assert sparse.tolist() == ids(kept.rows, hashing)
    quarantine = out / f"day={day.day:02d}/quarantine.jsonl"
    lines = [json.loads(line)["line"] for line in quarantine.read_text().splitlines()] if quarantine.exists() else []
    assert lines == kept.bad_lines
