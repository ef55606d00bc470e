"""Lookups and tables are priced as fbgemm stores and reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fbgemm_gpu.split_embedding_configs import SparseType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
from fbgemm_gpu.split_table_batched_embeddings_ops_inference import IntNBitTableBatchedEmbeddingBagsCodegen

from data_prep.part_files import write_part
from data_prep.schema import JaggedFeature, Schema, SparseFeature
from data_prep.shards import DayEntry, Jagged, Manifest, Part
from embeddings.lookup_cost import ElementType, lookup_cost, mean_lengths, row_bytes, table_memory

ONE_HOT = Schema("label", ("I1",), (SparseFeature("C1", 10), SparseFeature("C2", 7)))
WITH_LISTS = Schema("label", ("I1",), ONE_HOT.sparse, (JaggedFeature("seen", 20, max_length=8), JaggedFeature("tags", 5, max_length=3)))
FBGEMM = {"float32": SparseType.FP32, "float16": SparseType.FP16, "int8": SparseType.INT8, "int4": SparseType.INT4}


@pytest.mark.parametrize("dtype", FBGEMM)
@pytest.mark.parametrize("dim", [4, 16, 64])
def test_rows_are_as_large_as_fbgemm_stores_them(dtype: ElementType, dim: int) -> None:
    specs = [("t", 5, dim, FBGEMM[dtype], EmbeddingLocation.HOST)]
    tables = IntNBitTableBatchedEmbeddingBagsCodegen(specs, device=torch.device("cpu"), row_alignment=1)
    tables.initialize_weights()
    (memory,) = table_memory({"t": 5}, dim, dtype)
    assert (
        memory.bytes == memory.weight_bytes == 5 * row_bytes(dim, dtype) == sum(w.numel() for w, _ in tables.split_embedding_weights(False))
    )


def test_a_one_hot_feature_reads_one_row() -> None:
    cost = lookup_cost(ONE_HOT, dim=16)
    assert (cost.rows, cost.flops, cost.bytes, cost.index_bytes) == (2.0, 32, 2 * 16 * 4, (2 + 2) * 4)


def test_quantised_rows_are_smaller_and_cost_their_conversion() -> None:
    assert [lookup_cost(ONE_HOT, 16, dtype).bytes for dtype in ("float16", "int8", "int4")] == [2 * 32, 2 * 20, 2 * 12]
    assert [lookup_cost(ONE_HOT, 16, dtype).flops for dtype in ("float16", "int8", "int4")] == [32, 96, 96]


def test_lists_are_priced_at_their_mean_length_or_at_most() -> None:
    assert lookup_cost(WITH_LISTS, dim=4).rows == 2 + 8 + 3
    cost = lookup_cost(WITH_LISTS, dim=4, lengths={"seen": 2.5, "tags": 0.75})
    assert (cost.rows, cost.flops, cost.bytes) == (5.25, 21, 84)


def test_mean_lengths_are_those_of_the_shards(tmp_path: Path) -> None:
    def part(number: int, seen: list[int], tags: list[int]) -> Part:
        rows = len(seen)
        lists = {
            name: Jagged(np.zeros(sum(lengths), np.int32), np.cumsum([0, *lengths]).astype(np.int64))
            for name, lengths in (("seen", seen), ("tags", tags))
        }
        return Part(np.zeros((rows, 1), np.float32), np.zeros((rows, 2), np.int32), np.zeros((rows, 1), np.int32), lists)

    parts = [part(0, [1, 0, 4], [1, 1, 1]), part(1, [3], [2])]
    entries = [write_part(tmp_path / f"part-{k}", f"part-{k}", p) for k, p in enumerate(parts)]
    days = tuple(DayEntry(day, entry.rows, 0, (entry,)) for day, entry in enumerate(entries))
    assert mean_lengths(tmp_path, Manifest(WITH_LISTS, {}, days)) == {"seen": 2.0, "tags": 1.25}
    assert mean_lengths(tmp_path, Manifest(ONE_HOT, {}, ())) == {}


@pytest.mark.parametrize(("optimizer", "state"), [("rowwise_adagrad", [40, 28]), ("adagrad", [640, 448]), ("sgd", [0, 0]), (None, [0, 0])])
def test_memory_counts_the_optimizers_state(optimizer: str | None, state: list[int]) -> None:
    tables = table_memory({"C1": 10, "C2": 7}, 16, optimizer=optimizer)
    assert [(t.feature, t.weight_bytes) for t in tables] == [("C1", 640), ("C2", 448)]
    assert [t.optimizer_bytes for t in tables] == state
    assert [t.bytes for t in tables] == [640 + state[0], 448 + state[1]]


def test_unknown_names_are_named() -> None:
    with pytest.raises(ValueError, match="dtype = 'int2': tables are stored as one of float32, float16, int8, int4"):
        row_bytes(16, "int2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="optimizer = 'adam': its memory is known for sgd, rowwise_adagrad, adagrad"):
        table_memory({"C1": 2}, 4, optimizer="adam")
