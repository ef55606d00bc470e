"""docs/your-data.md: its blocks run, one after the other, in an empty folder, and say what the page says they do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.shards import open_manifest, open_part
from data_prep.table_schema import load_table_schema
from recsys_nas.config import load_config

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all blocks have run. A TOML or Python block begins with the name of its file."""
    folder = tmp_path_factory.mktemp("your-data")
    printed = ""
    for kind, text in BLOCKS:
        if kind == "sh":
            printed += output(["bash", "-ec", f'PATH="{Path(sys.executable).parent}:$PATH"\n{text}'], folder)
            continue
        name = re.match(r"# ([\w.]+)", text)
        assert name is not None, text
        (folder / name[1]).write_text(text, encoding="utf-8")
        if kind == "python":
            printed += output([sys.executable, name[1]], folder)
    (folder / "printed").write_text(printed, encoding="utf-8")
    return folder


def output(command: list[str], folder: Path) -> str:
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_page_has_the_blocks_it_should() -> None:
    assert [kind for kind, _ in BLOCKS] == ["python", "toml", "sh", "python", "toml"]


def test_rows_days_and_the_bad_row(folder: Path) -> None:
    manifest = open_manifest(folder / "shards")
    assert [day.day for day in manifest.days] == [0, 1, 2]
    assert sum(day.rows for day in manifest.days) == 9000
    assert sum(day.bad_rows for day in manifest.days) == 1
    printed = (folder / "printed").read_text(encoding="utf-8")
    assert "all well: 3 days, 9,000 rows, 15 files" in printed
    quarantined = json.loads(next(line for line in printed.splitlines() if line.startswith('{"file"')))
    quoted = re.search(r'`(\{"file": .*?), \.\.\.\}`', PAGE, re.DOTALL)
    assert quoted is not None
    assert json.loads(quoted[1].replace("\n", " ") + "}").items() <= quarantined.items()


def test_what_the_page_says_of_the_arrays(folder: Path) -> None:
    manifest = open_manifest(folder / "shards")
    part = open_part(folder / "shards", manifest.days[0].parts[0])
    assert (part.dense.shape[1], part.sparse.shape[1], part.label.shape[1]) == (1, 3, 1)
    assert (part.jagged["history"].values.dtype, part.jagged["history"].offsets.dtype) == (np.int32, np.int64)
    assert set(part.sparse[:, 2].tolist()) == {item + 1 for item in range(200)}
    assert np.diff(part.jagged["history"].offsets).max() == 5
    assert 0 < (part.sparse[:, 1] == 0).mean() < 0.5


def test_the_search_config_fits_the_shards(folder: Path) -> None:
    config = load_config(folder / "search.toml")
    assert (folder / config.data.shards / "manifest.json").exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(\.\./([\w./-]+)\)", PAGE))))
def test_linked_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.toml")), ids=lambda path: path.stem)
def test_schemas_that_come_along_are_valid(path: Path) -> None:
    assert load_table_schema(path).columns


def test_every_key_of_a_schema_is_on_the_page() -> None:
    import dataclasses

    from data_prep import table_schema

    for kind in (
        table_schema.TableSchema,
        table_schema.SparseColumn,
        table_schema.SequenceColumn,
        table_schema.CsvLayout,
        table_schema.DayRule,
    ):
        for field in dataclasses.fields(kind):
            assert re.search(rf"\b{field.name}\b", PAGE), f"{kind.__name__}.{field.name}"
