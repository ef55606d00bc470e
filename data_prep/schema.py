"""What the columns of a log are called and how many ids each sparse one has: the part of the data a model is built from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from data_prep.errors import DataError

NUM_CRITEO_DENSE = 13
NUM_CRITEO_SPARSE = 26
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class SparseFeature:
    """A categorical column. Its ids lie in `[0, num_embeddings)`; id 0 means the cell was missing."""

    name: str
    num_embeddings: int


@dataclass(frozen=True)
class JaggedFeature:
    """A column of lists of ids, at most `max_length` a row: a sequence, or a multi-hot set. Ids are as in SparseFeature, a
    missing list is an empty one. The name is part of a file's name, so it takes letters, digits, `_`, `-` and `.` only.
    """

    name: str
    num_embeddings: int
    max_length: int

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.name):
            raise DataError(f"sequence column {self.name!r}: its name becomes a file's, so use letters, digits, '_', '-' and '.' only")
        if self.max_length < 1:
            raise DataError(f"sequence column {self.name!r}: max_length = {self.max_length}, must be above 0")


@dataclass(frozen=True)
class Schema:
    """The columns in the order of the arrays: dense [R, len(dense)], sparse [R, len(sparse)], label [R, 1]; jagged by name."""

    label: str
    dense: tuple[str, ...]
    sparse: tuple[SparseFeature, ...]
    jagged: tuple[JaggedFeature, ...] = ()

    @property
    def categorical(self) -> tuple[SparseFeature | JaggedFeature, ...]:
        """All columns of ids, sparse before jagged: the order in which encoders and vocabularies number them."""
        return (*self.sparse, *self.jagged)

    def to_json(self) -> dict[str, Any]:
        """`jagged` is left out where there is none, so that such shards read like those from before there were any."""
        raw: dict[str, Any] = {"label": self.label, "dense": list(self.dense), "sparse": [asdict(feature) for feature in self.sparse]}
        return raw | ({"jagged": [asdict(feature) for feature in self.jagged]} if self.jagged else {})

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Schema:
        """Inverse of `to_json`; KeyError or TypeError on anything else."""
        sparse = tuple(SparseFeature(str(entry["name"]), int(entry["num_embeddings"])) for entry in raw["sparse"])
        jagged = tuple(
            JaggedFeature(str(entry["name"]), int(entry["num_embeddings"]), int(entry["max_length"])) for entry in raw.get("jagged", ())
        )
        return cls(label=str(raw["label"]), dense=tuple(raw["dense"]), sparse=sparse, jagged=jagged)


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
