"""Quantised tables: what a lookup reads is what the rows say, errors are bounded by the step of each row, and files are checked."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, PoolingType

from data_prep.errors import DataError
from embeddings.lookup_cost import ElementType, row_bytes
from embeddings.quantise import BITS, dequantise, load_tables, quantise, quantise_tables, save_tables, serving_collection

BATCH = KeyedJaggedTensor(
    keys=["hour", "zip"],
    values=torch.tensor([3, 4, 5, 6, 1, 2], dtype=torch.int32),
    lengths=torch.tensor([1, 2, 0, 1, 1, 1], dtype=torch.int32),
)


def collection(dim: int = 8) -> EmbeddingBagCollection:
    """Two tables, one pooled by its mean, of seeded weights."""
    configs = [
        EmbeddingBagConfig(name="t_zip", embedding_dim=dim, num_embeddings=40, feature_names=["zip"]),
        EmbeddingBagConfig(name="t_hour", embedding_dim=dim, num_embeddings=7, feature_names=["hour"], pooling=PoolingType.MEAN),
    ]
    tables = EmbeddingBagCollection(device=torch.device("cpu"), tables=configs)
    generator = torch.Generator().manual_seed(0)
    for value in tables.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=generator))
    return tables


@given(st.integers(1, 8), st.sampled_from(list(BITS)), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_each_element_is_off_by_about_half_a_step_of_its_row_at_most(rows: int, dtype: ElementType, scale: float, seed: int) -> None:
    weights = torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)) * scale
    stored = quantise(weights, dtype)
    assert (stored.dtype, list(stored.shape)) == (torch.uint8, [rows, row_bytes(16, dtype)])
    extent = weights.amax(1) - weights.amin(1)
    half_step = extent / (2 ** BITS[dtype] - 1) / 2
    # Scale and offset are float16: 11 bits of them are kept.
    in_float16 = 2**-11 * (weights.abs().amax(1) + extent)
    assert bool(((dequantise(stored, dtype) - weights).abs() <= (half_step + in_float16)[:, None] * 1.001).all())


@pytest.mark.parametrize("dtype", BITS)
def test_lookups_pool_what_the_rows_say(dtype: ElementType) -> None:
    tables, errors = quantise_tables(collection(), dtype)
    rows = {table.name: dequantise(table.rows, dtype) for table in tables}
    found = serving_collection(tables)(BATCH)
    assert found.keys() == ["zip", "hour"]
    zeros = torch.zeros(8)
    assert torch.allclose(found["hour"], torch.stack([rows["t_hour"][3], rows["t_hour"][[4, 5]].mean(0), zeros]), atol=1e-6)
    assert torch.allclose(found["zip"], rows["t_zip"][[6, 1, 2]], atol=1e-6)
    trained = collection()
    for error in errors:
        difference = (rows[error.table] - trained.embedding_bags[error.table].weight).detach()
        assert (error.largest, error.rms) == (float(difference.abs().max()), pytest.approx(float(difference.square().mean().sqrt())))
    limits = {"float16": 2e-3, "int8": 2e-2, "int4": 0.3}
    assert 0 < max(error.largest for error in errors) < limits[dtype]


@pytest.mark.parametrize("dtype", BITS)
def test_saved_tables_are_looked_up_the_same(dtype: ElementType, tmp_path: Path) -> None:
    tables, _ = quantise_tables(collection(), dtype)
    save_tables(tmp_path / "int", tables)
    save_tables(tmp_path / "int", tables)  # an earlier folder is replaced
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int"]
    loaded = serving_collection(load_tables(tmp_path / "int"))
    assert torch.equal(loaded(BATCH).values(), serving_collection(tables)(BATCH).values())


def test_what_cannot_be_quantised_is_named() -> None:
    with pytest.raises(ValueError, match="dtype = 'float32': tables are served as one of float16, int8, int4"):
        quantise(torch.zeros(2, 4), "float32")
    with pytest.raises(ValueError, match=r"embedding.dim = 10: in int4 it must be a multiple of 4"):
        quantise(torch.zeros(2, 10), "int4")
    with pytest.raises(ValueError, match=r"embedding.dim = 5: in int8 it must be a multiple of 2"):
        quantise(torch.zeros(2, 5), "int8")


def _drop_file(folder: Path) -> None:
    (folder / "t_zip.npy").unlink()


def _cut_file(folder: Path) -> None:
    (folder / "t_zip.npy").write_bytes((folder / "t_zip.npy").read_bytes()[:-5])


def _pickle_inside(folder: Path) -> None:
    np.save(folder / "t_zip.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _edit(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        raw = json.loads((folder / "tables.json").read_text())
        raw.update({key: value for key, value in changes.items() if key in raw})
        raw["tables"][0].update({key: value for key, value in changes.items() if key not in raw})
        (folder / "tables.json").write_text(json.dumps(raw))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_file, r"cannot read the tables in .*t_zip.npy"),
        (_cut_file, r"holds no serving tables that can be read"),
        (_pickle_inside, r"holds no serving tables that can be read"),
        (_edit(format_version=9), r"format version 9, this program reads 1"),
        (_edit(dtype="int3"), r"t_zip: dtype = 'int3'"),
        (_edit(rows=41), r"holds uint8 \[40, 12\], tables.json says uint8 \[41, 12\]"),
        (_edit(tables=[{}]), r"KeyError"),
    ],
)
def test_damaged_folders_are_named_and_nothing_in_them_runs(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    tables, _ = quantise_tables(collection(), "int8")
    save_tables(tmp_path / "int8", tables)
    damage(tmp_path / "int8")
    with pytest.raises(DataError, match=message):
        load_tables(tmp_path / "int8")


def test_a_disk_that_fills_up_leaves_the_tables_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, save = tmp_path / "tables", np.save
    first, _ = quantise_tables(collection(), "int8")
    save_tables(folder, first)

    def save_until_full(path: Path, *values: Any, **options: Any) -> None:
        if path.name == "t_hour.npy":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, *values, **options)

    monkeypatch.setattr("embeddings.quantise.np.save", save_until_full)
    second, _ = quantise_tables(collection(), "int4")
    with pytest.raises(OSError, match="No space left on device"):
        save_tables(folder, second)
    assert {table.dtype for table in load_tables(folder)} == {"int8"}
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]
