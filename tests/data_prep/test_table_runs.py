"""Whole runs over tables: Criteo as a table equals Criteo, remote inputs equal local ones, lists reach the shards, and the command line."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from data_prep import paths
from data_prep.cli import main
from data_prep.shards import Manifest, open_manifest, open_part
from data_prep.verify import verify
from tests.data_prep.folder_handler import FolderHandler

CRITEO = """
label = "label"
dense = [{dense}]
sparse = [{sparse}]
type = "hex"
buckets = 500

[csv]
delimiter = "\\t"
quote = ""
columns = ["label", {dense}, {sparse}]
""".format(dense=", ".join(f'"I{number}"' for number in range(1, 14)), sparse=", ".join(f'"C{number}"' for number in range(1, 27)))

CLICKS = """
label = "y"
dense = ["price"]
[sparse]
user = { buckets = 50 }
[sequence]
history = { max_length = 4, buckets = 60, type = "integer" }
"""


def assert_same_arrays(one: Path, other: Path) -> None:
    assert [day.rows for day in open_manifest(one).days] == [day.rows for day in open_manifest(other).days]
    for day in open_manifest(one).days:
        for part in day.parts:
            for file in part.sha256:
                assert (one / part.path / file).read_bytes() == (other / part.path / file).read_bytes()


def run(*arguments: str | Path) -> None:
    assert main(["run", *map(str, arguments)]) == 0


@pytest.mark.parametrize("hashing", [[], ["--hash", "frequency", "--threshold", "2"], ["--dense-transform", "mlperf"]], ids=str)
def test_criteo_as_a_table_gives_criteos_shards(hashing: list[str], raw: Path, tmp_path: Path) -> None:
    (tmp_path / "criteo.toml").write_text(CRITEO)
    common = [f"{raw}/day_[01]", "--workers", "1", "--part-rows", "1000", "--buckets", "500", *hashing, "--out"]
    run("--input", *common, tmp_path / "ours")
    run("--input", *common, tmp_path / "table", "--schema", tmp_path / "criteo.toml")
    assert_same_arrays(tmp_path / "ours", tmp_path / "table")
    assert open_manifest(tmp_path / "ours").schema == open_manifest(tmp_path / "table").schema


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """Two days, one in two files, as CSV and gzip; 0 to 5 items a row."""
    folder = tmp_path / "store" / "bucket"
    folder.mkdir(parents=True)
    (tmp_path / "clicks.toml").write_text(CLICKS)
    for place, name in enumerate(("day_0_a.csv", "day_0_b.csv.gz", "day_1.csv")):
        lists = ["|".join(str(place + item) for item in range(at % 6)) for at in range(100)]
        text = "y,user,price,history\n" + "".join(f"{at % 2},user {at % 7},{at / 4},{ids}\n" for at, ids in enumerate(lists))
        (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderHandler]:
    handler = FolderHandler(tmp_path / "store")
    paths.register_handler(handler)
    yield handler
    paths._handlers.clear()
    paths._manager.cache_clear()


def lists_of(root: Path, manifest: Manifest, day: int) -> list[list[int]]:
    jagged = [open_part(root, part).jagged["history"] for part in manifest.day(day).parts]
    return [it.values[a:b].tolist() for it in jagged for a, b in zip(it.offsets, it.offsets[1:], strict=False)]


def test_lists_reach_the_shards_in_parts_and_across_files(clicks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("--input", f"{clicks}/*", "--schema", tmp_path / "clicks.toml", "--out", out, "--part-rows", "64", "--workers", "1")
    manifest = open_manifest(out)
    assert [(day.rows, len(day.parts)) for day in manifest.days] == [(200, 4), (100, 2)]
    assert verify(out)[1] == []
    expected = [[1 + (place + item) % 59 for item in range(at % 6)][-4:] for place in (0, 1) for at in range(100)]
    assert lists_of(out, manifest, 0) == expected
    assert main(["verify", str(out)]) == 0
    assert main(["inspect", str(out)]) == 0


@pytest.mark.parametrize("hashing", ["modulo", "frequency"])
def test_remote_inputs_give_the_shards_of_local_ones(hashing: str, clicks: Path, store: FolderHandler, tmp_path: Path) -> None:
    common: list[str | Path] = ["--schema", tmp_path / "clicks.toml", "--hash", hashing, "--workers", "1", "--out"]
    run("--input", f"{clicks}/*", *common, tmp_path / "local")
    run("--input", "test://bucket/*", *common, tmp_path / "remote")
    assert_same_arrays(tmp_path / "local", tmp_path / "remote")
    assert len(store.fetched) == (3 if hashing == "modulo" else 6)
    assert not any(path.exists() for path in store.fetched)
    assert {path.name for path in (tmp_path / "remote").iterdir()} == {path.name for path in (tmp_path / "local").iterdir()}


def test_frequency_counts_every_item_of_a_list(clicks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(
        "--input",
        f"{clicks}/*",
        "--schema",
        tmp_path / "clicks.toml",
        "--hash",
        "frequency",
        "--threshold",
        "1",
        "--workers",
        "1",
        "--out",
        out,
    )
    manifest = open_manifest(out)
    ids = [identity for day in (0, 1) for row in lists_of(out, manifest, day) for identity in row]
    counts = np.bincount(ids)
    assert counts[:2].tolist() == [0, 0]
    assert (np.diff(counts[2:]) <= 0).all()


@pytest.mark.parametrize(("before", "after"), [('missing = ["", "NA"]', ""), ("", 'delimiter = ";"')])
def test_days_read_by_other_rules_are_not_added(before: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by more of them than the schema had before nor by fewer."""
    for day in (0, 1):
        (tmp_path / f"day_{day}.csv").write_text("y,user,price\n1,NA,2\n")
    schema = tmp_path / "schema.toml"
    schema.write_text(f'label = "y"\nsparse = ["user"]\n[csv]\n{before}')
    run("--input", tmp_path / "day_0.csv", "--schema", schema, "--out", tmp_path / "out")
    schema.write_text(f'label = "y"\nsparse = ["user"]\n[csv]\n{after}')
    assert main(["run", "--input", f"{tmp_path}/day_1.csv", "--schema", str(schema), "--out", f"{tmp_path}/out"]) == 2
    assert re.search(r"day=00 was made with other parameters \(csv (not set there|.*, not set asked)", capsys.readouterr().err)


def test_parquet_through_the_command_line(clicks: Path, tmp_path: Path) -> None:
    columns = {
        "y": [at % 2 for at in range(100)],
        "user": [f"user {at % 7}" for at in range(100)],
        "price": [at / 4 for at in range(100)],
        "history": [[2 + item for item in range(at % 6)] for at in range(100)],
    }
    folder = tmp_path / "parquet"
    folder.mkdir()
    pa_parquet.write_table(pa.table(columns), folder / "day_1.parquet")
    for source, out in ((folder / "day_1.parquet", "a"), (clicks / "day_1.csv", "b")):
        run("--input", source, "--schema", tmp_path / "clicks.toml", "--out", tmp_path / out)
    assert_same_arrays(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "clicks.toml").unlink(), "cannot read the schema"),
        (lambda folder: (folder / "clicks.toml").write_text("lable = 'y'"), "unknown key lable; did you mean label?"),
        (lambda folder: (folder / "clicks.toml").write_text(CLICKS.replace("price", "cost")), "has no column 'cost'"),
        (lambda folder: shutil.copy(folder / "store/bucket/day_1.csv", folder / "store/bucket/other.csv"), "other.csv: no day in its name"),
        (lambda folder: (folder / "store/bucket/day_1.csv").write_text(""), "day_1.csv is empty"),
    ],
)
def test_each_mistake_is_one_line_and_code_2(
    change: object, message: str, clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(tmp_path)  # type: ignore[operator]
    arguments = [
        "run",
        "--input",
        f"{clicks}/*",
        "--schema",
        str(tmp_path / "clicks.toml"),
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "1",
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_more_of_a_store_than_the_disk_holds_is_one_line(
    clicks: Path, store: FolderHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "file_size", lambda uri: 1 << 60, raising=False)
    arguments = ["run", "--input", "test://bucket/*", "--schema", str(tmp_path / "clicks.toml"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "GB free: make room" in capsys.readouterr().err
    assert store.fetched == []
