"""Batches of generated shards, with lists and without, against rows put together one by one in plain Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchrec import KeyedJaggedTensor

from data_prep.part_files import write_part
from data_prep.schema import JaggedFeature, Schema, SparseFeature
from data_prep.shards import DayEntry, Jagged, Manifest, Part, empty_part
from recsys_nas.training.reader import Batch, ReaderOptions, ShardReader

MAX_LENGTH = 4
Row = tuple[list[float], float, list[list[int]]]
"""Dense cells, the label, and the ids under each key."""


@dataclass(frozen=True)
class Case:
    schema: Schema
    part_rows: list[int]
    table_rows: list[int]
    options: dict[str, Any]
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sizes = st.integers(2, 30)
    sparse = [SparseFeature(f"C{n}", draw(sizes)) for n in range(draw(st.integers(0, 3)))]
    jagged = [JaggedFeature(f"L{n}", draw(sizes), MAX_LENGTH) for n in range(draw(st.integers(0 if sparse else 1, 2)))]
    schema = Schema("label", tuple(f"I{n}" for n in range(draw(st.integers(0, 2)))), tuple(sparse), tuple(jagged))
    world_size = draw(st.integers(1, 3))
    options: dict[str, Any] = {
        "batch_size": world_size * draw(st.integers(1, 12)),
        "shuffle_seed": draw(st.none() | st.integers(0, 9)),
        "epochs": draw(st.integers(1, 2)),
        "world_size": world_size,
        "prefetch": draw(st.integers(0, 2)),
    }
    rows = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4).filter(lambda rows: sum(rows) >= options["batch_size"]))
    return Case(schema, rows, [draw(st.integers(1, 30)) for _ in schema.categorical], options, draw(st.integers(0, 99)))


def made(root: Path, case: Case) -> tuple[Manifest, list[Row]]:
    """Parts of random rows, and the rows as the reader should hand them out."""
    generator = np.random.default_rng(case.seed)
    parts, rows = [], []
    for number, count in enumerate(case.part_rows):
        part = empty_part(case.schema, count)
        part.dense[:] = generator.random(part.dense.shape)
        part.label[:] = generator.integers(0, 2, part.label.shape)
        for column, feature in enumerate(case.schema.sparse):
            part.sparse[:, column] = generator.integers(0, feature.num_embeddings, count)
        jagged = {}
        for lists in case.schema.jagged:
            lengths = generator.integers(0, MAX_LENGTH + 1, count)
            jagged[lists.name] = Jagged.of(generator.integers(0, lists.num_embeddings, lengths.sum(), np.int32), lengths)
        part = replace(part, jagged=jagged)
        path = f"day=00/part-{number:05d}"
        parts.append(write_part(root / path, path, part))
        rows += [row_of(part, row, case.table_rows) for row in range(count)]
    return Manifest(case.schema, {}, (DayEntry(0, len(rows), 0, tuple(parts)),)), rows


def row_of(part: Part, row: int, table_rows: list[int]) -> Row:
    ids = [[int(value)] for value in part.sparse[row]]
    for lists in part.jagged.values():
        ids.append([int(value) for value in lists.values[lists.offsets[row] : lists.offsets[row + 1]]])
    wrapped = [[value % wrap for value in cell] for cell, wrap in zip(ids, table_rows, strict=True)]
    return part.dense[row].tolist(), float(part.label[row, 0]), wrapped


def rows_of(batch: Batch) -> Iterator[Row]:
    keyed = [jagged.to_dense() for jagged in batch.sparse.to_dict().values()]
    for row in range(batch.valid):
        ids = [feature[row].tolist() for feature in keyed]
        yield batch.dense[row].tolist(), batch.labels[row].item(), ids


def read(root: Path, manifest: Manifest, case: Case) -> list[list[Batch]]:
    """Each rank's batches."""
    world = range(case.options["world_size"])
    return [list(ShardReader(root, manifest, [0], ReaderOptions(table_rows=case.table_rows, rank=rank, **case.options))) for rank in world]


@settings(max_examples=30)
@given(cases())
def test_batches_hold_the_rows_of_the_parts(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifest, expected = made(Path(folder), case)
        pieces = read(Path(folder), manifest, case)
    for batch in (batch for rank in pieces for batch in rank):
        check_kjt(batch, case.schema)
    steps = [[row for batch in step for row in rows_of(batch)] for step in zip(*pieces, strict=True)]
    size, seed, epochs = (case.options[key] for key in ("batch_size", "shuffle_seed", "epochs"))
    blocks = [expected[first : first + size] for first in range(0, len(expected), size)]
    if seed is None:
        assert steps == blocks * epochs
    else:
        whole = [block for block in blocks if len(block) == size]
        assert sorted(steps) == sorted(whole * epochs), "whole blocks, each once an epoch"
        assert all(sorted(steps[epoch * len(whole) :][: len(whole)]) == sorted(whole) for epoch in range(epochs))


def check_kjt(batch: Batch, schema: Schema) -> None:
    """What we tell TorchRec of a batch is what it would work out from the lengths."""
    ours = batch.sparse
    plain = KeyedJaggedTensor(ours.keys(), ours.values(), lengths=ours.lengths())
    assert ours.keys() == [feature.name for feature in schema.categorical]
    assert torch.equal(ours.offsets(), plain.offsets())
    assert (ours.stride(), ours.length_per_key(), ours.offset_per_key()) == (
        len(batch.labels),
        plain.length_per_key(),
        plain.offset_per_key(),
    )
    assert (ours.values().dtype, ours.lengths().dtype, ours.offsets().dtype) == (torch.int32,) * 3
    assert not batch.dense[batch.valid :].any(), "padding"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_for_a_gpu_are_pinned_and_arrive_whole(tmp_path: Path) -> None:
    schema = Schema("label", ("I1",), (SparseFeature("C1", 9),), (JaggedFeature("L1", 9, MAX_LENGTH),))
    case = Case(schema, [40, 30], [9, 9], {"batch_size": 16, "world_size": 1, "pin_memory": True}, seed=0)
    manifest, expected = made(tmp_path, case)
    [batches] = read(tmp_path, manifest, case)
    tensors = [tensor for b in batches for tensor in (b.dense, b.labels, b.sparse.values(), b.sparse.lengths(), b.sparse.offsets())]
    assert all(tensor.is_pinned() for tensor in tensors)
    moved = [batch.to(torch.device("cuda"), non_blocking=True) for batch in batches]
    torch.cuda.synchronize()
    assert [row for batch in moved for row in rows_of(batch.to(torch.device("cpu")))] == expected
