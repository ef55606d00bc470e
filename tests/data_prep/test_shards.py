"""Reading shards: by us, by TorchRec, and with faults in them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.errors import DataError
from data_prep.schema import Schema, criteo_schema
from data_prep.shards import Manifest, open_manifest, open_part, write_manifest
from data_prep.verify import verify


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "shards"))


def test_schema_and_manifest_come_back_equal(shards: Path, tmp_path: Path) -> None:
    schema = criteo_schema(10)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    manifest = open_manifest(shards)
    write_manifest(tmp_path, manifest)
    assert open_manifest(tmp_path) == manifest
    assert [day.day for day in manifest.days] == [0, 1, 2]
    assert manifest.parameters["buckets"] == manifest.schema.sparse[0].num_embeddings


def test_parts_are_mapped_not_read(shards: Path) -> None:
    part = open_part(shards, open_manifest(shards).day(1).parts[0])
    assert all(isinstance(array, np.memmap) for array in (part.dense, part.sparse, part.label))
    assert (part.dense.shape, part.sparse.shape, part.label.shape) == ((1000, 13), (1000, 26), (1000, 1))
    assert (part.dense.dtype, part.sparse.dtype, part.label.dtype) == (np.float32, np.int32, np.int32)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.zeros((3, 2), np.float32)),
        np.zeros((3, 2), ">f4"),
        np.zeros((3, 2), [("a", np.float32)]),
        np.zeros((3, 2), object),
    ],
)
def test_an_array_of_another_layout_is_refused(array: Any, copy: Path) -> None:
    part = open_manifest(copy).days[0].parts[0]
    np.save(copy / part.path / "dense.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=r"dense\.npy: no \.npy file of version 1\.0 with rows"):
        open_part(copy, part)


def test_too_few_buckets_are_refused() -> None:
    with pytest.raises(DataError, match="buckets = 1: at least 2"):
        criteo_schema(1)


def test_a_missing_day_lists_those_there_are(shards: Path) -> None:
    with pytest.raises(DataError, match="day 7 is not in these shards; days there: 0, 1, 2"):
        open_manifest(shards).day(7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "manifest.json is missing; make them with `data-prep run"),
        ("{", "is not valid JSON"),
        ("[]", "is not a manifest"),
        ('{"days": []}', "is not a manifest"),
        ('{"format_version": 2}', "format version 2, this program reads 1"),
    ],
)
def test_a_manifest_that_cannot_be_used(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_manifest(tmp_path)


def test_a_part_that_does_not_fit_the_manifest(copy: Path) -> None:
    entry = open_manifest(copy).day(0).parts[2]
    np.save(copy / entry.path / "label.npy", np.zeros((3, 1), np.int32))
    with pytest.raises(DataError, match=r"holds int32 \[3, 1\], the manifest says int32 with 500 rows; run `data-prep verify"):
        open_part(copy, entry)
    (copy / entry.path / "label.npy").unlink()
    with pytest.raises(DataError, match="cannot read"):
        open_part(copy, entry)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def set_value(value: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        array = np.load(path)
        array[0, 0] = value
        np.save(path, array)

    return change


def drop_a_row(path: Path) -> None:
    np.save(path, np.load(path)[1:])


@pytest.mark.parametrize(
    ("file", "change", "faults"),
    [
        ("dense.npy", flip_a_byte, ["its sha256 is not the manifest's"]),
        ("sparse.npy", set_value(500), ["sha256", "1 values out of range (ids from 0"]),
        ("sparse.npy", set_value(-1), ["sha256", "1 values out of range"]),
        ("dense.npy", set_value(float("nan")), ["sha256", "1 values out of range (finite"]),
        ("label.npy", set_value(2), ["sha256", "1 values out of range (0 or 1)", "positives, the manifest says"]),
        ("dense.npy", drop_a_row, ["sha256", "holds float32 [999, 13], not float32 [1000, 13]"]),
        ("label.npy", Path.unlink, ["cannot be read (No such file"]),
        ("label.npy", lambda path: path.write_bytes(b"not an array"), ["sha256", "cannot be read"]),
    ],
)
def test_verify_finds(file: str, change: Callable[[Path], Any], faults: list[str], copy: Path) -> None:
    assert verify(copy)[1] == []
    path = copy / "day=01/part-00001" / file
    change(path)
    found = verify(copy)[1]
    assert len(found) == len(faults)
    for text, fault in zip(found, faults, strict=True):
        assert text.startswith(f"{path}: ")
        assert fault in text


def test_verify_finds_counts_that_do_not_add_up_and_lists_every_fault(copy: Path) -> None:
    manifest = open_manifest(copy)
    first = dataclasses.replace(manifest.days[0], rows=9, positives=9)
    write_manifest(copy, Manifest(manifest.schema, manifest.parameters, (first, *manifest.days[1:])))
    flip_a_byte(copy / "day=02/part-00000/sparse.npy")
    faults = verify(copy)[1]
    assert [fault.split(",")[0] for fault in faults[:2]] == ["day 0: the manifest says 9 rows", "day 0: the manifest says 9 positives"]
    assert any("day=02/part-00000/sparse.npy: its sha256" in fault for fault in faults)


def test_torchrec_reads_the_arrays_unchanged(shards: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchrec.datasets.criteo import InMemoryBinaryCriteoIterDataPipe
    entries = open_manifest(shards).day(0).parts
    paths = {name: [str(shards / entry.path / f"{name}.npy") for entry in entries] for name in ("dense", "sparse", "label")}
    pipe = InMemoryBinaryCriteoIterDataPipe("train", paths["dense"], paths["sparse"], paths["label"], batch_size=1250, rank=0, world_size=1)
    parts = [open_part(shards, entry) for entry in entries]
    batches = list(pipe)
    assert len(batches) == 2
    for name, read in {
        "dense": lambda batch: batch.dense_features.numpy(),
        "sparse": lambda batch: batch.sparse_features.values().numpy().reshape(26, -1).T,
        "label": lambda batch: batch.labels.numpy().reshape(-1, 1),
    }.items():
        np.testing.assert_array_equal(np.concatenate([read(batch) for batch in batches]), np.concatenate([getattr(p, name) for p in parts]))
