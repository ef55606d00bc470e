"""What the columns of a log are called and how many ids each sparse one has: the part of the data a model is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_prep.errors import DataError

NUM_CRITEO_DENSE = 13
NUM_CRITEO_SPARSE = 26


@dataclass(frozen=True)
class SparseFeature:
    """A categorical column. Its ids lie in `[0, num_embeddings)`; id 0 means the cell was missing."""

    name: str
    num_embeddings: int


@dataclass(frozen=True)
class Schema:
    """The columns in the order of the arrays: dense [R, len(dense)], sparse [R, len(sparse)], label [R, 1]."""

    label: str
    dense: tuple[str, ...]
    sparse: tuple[SparseFeature, ...]

    def to_json(self) -> dict[str, Any]:
        sparse = [{"name": feature.name, "num_embeddings": feature.num_embeddings} for feature in self.sparse]
        return {"label": self.label, "dense": list(self.dense), "sparse": sparse}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Schema:
        """Inverse of `to_json`; KeyError or TypeError on anything else."""
        sparse = tuple(SparseFeature(str(entry["name"]), int(entry["num_embeddings"])) for entry in raw["sparse"])
        return cls(label=str(raw["label"]), dense=tuple(raw["dense"]), sparse=sparse)


def criteo_schema(buckets: int) -> Schema:
    """Criteo's display advertising logs: label, 13 integers I1..I13, 26 categorical columns C1..C26 of `buckets` ids each.

    Raises DataError when `buckets` leaves no id beside the one for a missing cell.
    """
    if buckets < 2:
        raise DataError(f"buckets = {buckets}: at least 2 are needed, one for missing cells and one for ids")
    return Schema(
        label="label",
        dense=tuple(f"I{i}" for i in range(1, NUM_CRITEO_DENSE + 1)),
        sparse=tuple(SparseFeature(f"C{i}", buckets) for i in range(1, NUM_CRITEO_SPARSE + 1)),
    )
