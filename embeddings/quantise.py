"""Tables for serving: each row in 8 or 4 bits an element with a scale and an offset of its own, or in float16.

Rows are those of fbgemm (FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf): the elements, then scale and offset in float16, so
that an element reads as `integer * scale + offset`. A folder of them is plain NumPy arrays and one JSON file: nothing in it is
executed when it is opened, and large tables are mapped into memory rather than read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fbgemm_gpu  # noqa: F401 - registers the operators torch.ops.fbgemm
import numpy as np
import torch
from torch import Tensor
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_configs import DataType
from torchrec.quant import EmbeddingBagCollection as QuantisedCollection

from data_prep.atomic import whole_folder, write_json
from data_prep.errors import DataError
from embeddings.lookup_cost import ElementType, row_bytes

FORMAT_VERSION = 1
TABLES = "tables.json"
BITS: Mapping[ElementType, int] = {"float16": 16, "int8": 8, "int4": 4}
_TORCHREC = {"float16": DataType.FP16, "int8": DataType.INT8, "int4": DataType.INT4}
_SCALE_AND_OFFSET_BYTES = 4


@dataclass(frozen=True)
class QuantisedTable:
    """Rows of one table, uint8 `[R, row_bytes(dim, dtype)]`, and the features and pooling of the collection it came from."""

    name: str
    features: tuple[str, ...]
    pooling: str
    dim: int
    dtype: ElementType
    rows: Tensor


@dataclass(frozen=True)
class QuantisationError:
    """How far the elements of a quantised table lie from the trained ones: at most, and as the root of the mean square."""

    table: str
    largest: float
    rms: float
    largest_weight: float


def quantise(weights: Tensor, dtype: ElementType) -> Tensor:
    """Float32 `[R, D]` -> uint8 `[R, row_bytes(D, dtype)]`. Raises ValueError for a `dtype` of no serving form, or rows of no whole
    number of two bytes, which fbgemm's kernels need: D must be a multiple of 4 in 4 bits, of 2 in 8."""
    if dtype not in BITS:
        raise ValueError(f"dtype = {dtype!r}: tables are served as one of {', '.join(BITS)}")
    if dtype == "float16":
        return weights.half().view(torch.uint8)
    if weights.shape[1] * BITS[dtype] % 16:
        multiple = 16 // BITS[dtype]
        raise ValueError(f"embedding.dim = {weights.shape[1]}: in {dtype} it must be a multiple of {multiple}; choose another dtype")
    return torch.ops.fbgemm.FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf(weights, BITS[dtype])


def dequantise(rows: Tensor, dtype: ElementType) -> Tensor:
    """The float32 elements `[R, D]` that a lookup of these rows sees."""
    if dtype == "float16":
        return rows.view(torch.float16).float()
    return torch.ops.fbgemm.FusedNBitRowwiseQuantizedSBHalfToFloat(rows, BITS[dtype])


def quantise_tables(tables: EmbeddingBagCollection, dtype: ElementType) -> tuple[list[QuantisedTable], list[QuantisationError]]:
    """All tables of an unsharded float32 collection on the CPU, and what each loses."""
    weights = {name.split(".")[-2]: value.detach() for name, value in tables.state_dict().items()}
    quantised, errors = [], []
    for config in tables.embedding_bag_configs():
        trained = weights[config.name]
        rows = quantise(trained, dtype)
        table = QuantisedTable(config.name, tuple(config.feature_names), config.pooling.value, config.embedding_dim, dtype, rows)
        quantised.append(table)
        errors.append(_error(config.name, trained, dequantise(rows, dtype)))
    return quantised, errors


def serving_collection(tables: list[QuantisedTable]) -> QuantisedCollection:
    """A collection that looks these tables up on the CPU, from the KJT of a batch to a float32 KeyedTensor as in training."""
    configs = [
        EmbeddingBagConfig(
            name=table.name,
            num_embeddings=len(table.rows),
            embedding_dim=table.dim,
            feature_names=list(table.features),
            pooling=PoolingType(table.pooling),
            data_type=_TORCHREC[table.dtype],
        )
        for table in tables
    ]
    return QuantisedCollection(
        configs,
        is_weighted=False,
        device=torch.device("cpu"),
        table_name_to_quantized_weights={table.name: _elements_and_scales(table) for table in tables},
        row_alignment=1,  # on a CPU rows need no padding; TorchRec's default of 16 is for GPUs
    )


def save_tables(folder: Path, tables: list[QuantisedTable]) -> None:
    """Write `folder` whole or not at all; one that is there is replaced once its successor is complete. Raises OSError."""
    replaced = folder.with_name(f".{folder.name}.replaced")
    with whole_folder(folder, folder.parent) as side:
        for table in tables:
            np.save(side / f"{table.name}.npy", table.rows.numpy(), allow_pickle=False)
        entries = [
            {"name": t.name, "features": list(t.features), "pooling": t.pooling, "dim": t.dim, "dtype": t.dtype, "rows": len(t.rows)}
            for t in tables
        ]
        write_json(side / TABLES, {"format_version": FORMAT_VERSION, "tables": entries})
        if folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
    shutil.rmtree(replaced, ignore_errors=True)


def load_tables(folder: Path) -> list[QuantisedTable]:
    """The tables of a folder that `save_tables` wrote, mapped from disk.

    Raises DataError when a file is missing, malformed, or not what tables.json says.
    """
    again = "make them again with `recsys-nas quantise`"
    try:
        raw = json.loads((folder / TABLES).read_text(encoding="utf-8"))
        if raw["format_version"] != FORMAT_VERSION:
            raise DataError(f"{folder / TABLES}: format version {raw['format_version']!r}, this program reads {FORMAT_VERSION}; {again}")
        return [_load_table(folder, entry) for entry in raw["tables"]]
    except OSError as error:
        raise DataError(f"cannot read the tables in {folder}: {error}; {again}") from error
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise DataError(f"{folder} holds no serving tables that can be read ({error!r}); {again}") from error


def _load_table(folder: Path, entry: Mapping[str, Any]) -> QuantisedTable:
    name, dtype, dim = str(entry["name"]), entry["dtype"], int(entry["dim"])
    if dtype not in BITS:
        raise ValueError(f"{name}: dtype = {dtype!r}")
    rows = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)  # copy on write: torch wants writable memory
    expected = (entry["rows"], row_bytes(dim, dtype))
    if rows.dtype != np.uint8 or rows.shape != expected:
        raise ValueError(f"{name}.npy holds {rows.dtype} {list(rows.shape)}, {TABLES} says uint8 {list(expected)}")
    return QuantisedTable(name, tuple(entry["features"]), str(entry["pooling"]), dim, dtype, torch.from_numpy(rows))


def _elements_and_scales(table: QuantisedTable) -> tuple[Tensor, Tensor | None]:
    if table.dtype == "float16":
        return table.rows, None
    return table.rows[:, :-_SCALE_AND_OFFSET_BYTES], table.rows[:, -_SCALE_AND_OFFSET_BYTES:]


def _error(name: str, trained: Tensor, read: Tensor) -> QuantisationError:
    difference = read - trained
    largest, weight = float(difference.abs().max()), float(trained.abs().max())
    return QuantisationError(name, largest, float(difference.square().mean().sqrt()), weight)
