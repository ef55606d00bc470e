"""Keys of categorical cells to ids of embedding rows, column by column."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.schema import Schema

MISSING_ID = 0


class Encoder(Protocol):
    """Ids of one column at a time; columns are numbered as in `schema.categorical`."""

    def encode(self, column: int, keys: NDArray[np.uint64], missing: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Ids int32 [R] of keys uint64 [R]; where `missing` (bool [R]) holds, the key does not matter and the id is 0."""


class ModuloEncoder:
    """1 + key mod (rows of the table - 1); 0 is kept for missing cells."""

    def __init__(self, schema: Schema) -> None:
        self.moduli = np.array([feature.num_embeddings - 1 for feature in schema.categorical], np.uint64)

    def encode(self, column: int, keys: NDArray[np.uint64], missing: NDArray[np.bool_]) -> NDArray[np.int32]:
        ids = (keys % self.moduli[column]).astype(np.int32)
        ids += 1
        ids[missing] = MISSING_ID
        return ids
