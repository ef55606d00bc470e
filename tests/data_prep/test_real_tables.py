"""Real data through the table path: Frappe against plain Python, Criteo as a table against Criteo's own parser."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep.cli import main
from data_prep.shards import open_manifest, open_part
from data_prep.verify import verify
from tests.data_prep.test_table_runs import CRITEO, assert_same_arrays

pytestmark = pytest.mark.skipif("RECSYS_DATA" not in os.environ, reason="RECSYS_DATA names no folder with frappe_x1/ and criteo/")

FRAPPE = Path(__file__).resolve().parents[2] / "schemas" / "frappe_x1.toml"


def test_frappe(tmp_path: Path) -> None:
    folder = Path(os.environ["RECSYS_DATA"], "frappe_x1")
    assert main(["run", "--input", f"{folder}/*.csv.gz", "--schema", str(FRAPPE), "--out", str(tmp_path), "--part-rows", "50000"]) == 0
    manifest = open_manifest(tmp_path)
    assert [(day.day, day.rows, day.bad_rows) for day in manifest.days] == [(0, 202_027, 0), (1, 57_722, 0), (2, 28_860, 0)]
    assert verify(tmp_path)[1] == []
    for day, split in zip(manifest.days, ("train", "valid", "test"), strict=True):
        with gzip.open(folder / f"{split}.csv.gz", "rt") as file:
            rows = [[int(cell) for cell in row] for row in list(csv.reader(file))[1:]]
        parts = [open_part(tmp_path, part) for part in day.parts]
        found = np.concatenate([np.hstack([part.label, part.sparse - 1]) for part in parts])
        np.testing.assert_array_equal(found, np.array(rows))
        assert day.positives == sum(row[0] for row in rows)


@pytest.mark.parametrize("sample", ["criteo_kaggle_first80k.tsv.gz", "criteo_1tb_day0_first1000.tsv"])
def test_criteo_as_a_table(sample: str, tmp_path: Path) -> None:
    """The samples, uint32 ids and negative integers included, give the same bytes by the compiled parser and by way of Arrow."""
    raw = tmp_path / f"day_0{Path(sample).suffix}"
    shutil.copy(Path(os.environ["RECSYS_DATA"], "criteo", sample), raw)
    (tmp_path / "criteo.toml").write_text(CRITEO)
    for schema, out in (("criteo", "ours"), (str(tmp_path / "criteo.toml"), "table")):
        assert main(["run", "--input", str(raw), "--schema", schema, "--out", str(tmp_path / out), "--buckets", "500"]) == 0
    assert_same_arrays(tmp_path / "ours", tmp_path / "table")
