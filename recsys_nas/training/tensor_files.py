"""DCP's files without pickle: the table of contents is JSON, and nothing that is read can name code to run.

torch.distributed.checkpoint (DCP) pickles its `.metadata` and unpickles whatever it finds there, so that a checkpoint from
elsewhere could run anything. Tensors themselves it loads with `weights_only=True`, which is safe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    STORAGE_TYPES,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.storage import WriteResult

from data_prep.atomic import write_json

CONTENTS = "tensors.json"


class TensorWriter(FileSystemWriter):
    """Writes one file of tensors a rank, and `tensors.json` from rank 0: sizes, chunks and where each chunk lies."""

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        tensors = {name: _describe(name, entry) for name, entry in metadata.state_dict_metadata.items()}
        chunks = [
            {
                "tensor": result.index.fqn,
                "offset": None if result.index.offset is None else list(result.index.offset),
                "file": result.storage_data.relative_path,
                "start": result.storage_data.offset,
                "length": result.storage_data.length,
            }
            for rank_results in results
            for result in rank_results
        ]
        write_json(Path(self.path) / CONTENTS, {"tensors": tensors, "chunks": chunks})


class TensorReader(FileSystemReader):
    """Reads what TensorWriter wrote. Raises ValueError or KeyError when `tensors.json` is something else."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        folder = Path(self.path)
        raw = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        tensors: dict[str, STORAGE_TYPES] = {name: _tensor(entry) for name, entry in raw["tensors"].items()}
        storage = {}
        for chunk in raw["chunks"]:
            offset = None if chunk["offset"] is None else torch.Size(chunk["offset"])
            if Path(chunk["file"]).name != chunk["file"]:
                raise ValueError(f"{folder / CONTENTS} names a file outside its folder: {chunk['file']}")
            storage[MetadataIndex(chunk["tensor"], offset)] = _StorageInfo(chunk["file"], int(chunk["start"]), int(chunk["length"]))
        return Metadata(state_dict_metadata=tensors, storage_data=storage)

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The whole shape of each tensor by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.empty_tensors(torch.device("meta")).items()}

    def empty_tensors(self, device: torch.device) -> dict[str, torch.Tensor]:
        """A whole tensor of the right size and type for each name, to be filled by `dcp.load`."""
        entries = self.read_metadata().state_dict_metadata.items()
        described = {name: entry for name, entry in entries if isinstance(entry, TensorStorageMetadata)}
        return {name: torch.empty(entry.size, dtype=entry.properties.dtype, device=device) for name, entry in described.items()}


def _describe(name: str, entry: object) -> dict[str, Any]:
    if not isinstance(entry, TensorStorageMetadata):
        raise TypeError(f"{name}: a checkpoint holds tensors only; plain values go into its JSON")
    chunks = [[list(chunk.offsets), list(chunk.sizes)] for chunk in entry.chunks]
    return {"dtype": str(entry.properties.dtype).removeprefix("torch."), "size": list(entry.size), "chunks": chunks}


def _tensor(raw: Mapping[str, Any]) -> TensorStorageMetadata:
    dtype = getattr(torch, raw["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{raw['dtype']} is no type of tensors")
    chunks = [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for offsets, sizes in raw["chunks"]]
    return TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(raw["size"]), chunks)
