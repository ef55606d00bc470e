"""Keys of categorical cells to ids of embedding rows, column by column: by modulo, or by a vocabulary of the frequent ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.schema import Schema

MISSING_ID = 0
OUT_OF_VOCABULARY_ID = 1
FIRST_VOCABULARY_ID = 2


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


class FrequencyEncoder:
    """Ids of a vocabulary, looked up in its index files, one a column: 0 missing, 1 out of vocabulary, 2.. by falling frequency."""

    def __init__(self, index: Sequence[Path]) -> None:
        from data_prep.key_index import open_index

        self._slots = [open_index(path) for path in index]

    def encode(self, column: int, keys: NDArray[np.uint64], missing: NDArray[np.bool_]) -> NDArray[np.int32]:
        from data_prep.key_index import look_up

        return look_up(self._slots[column], keys, missing)
