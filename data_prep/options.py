"""What shards depend on beside the logs, checked, and as the manifest records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from data_prep.categorical import MISSING_ID, OUT_OF_VOCABULARY_ID, Encoder, FrequencyEncoder, ModuloEncoder
from data_prep.dense_transform import dense_transform
from data_prep.errors import DataError
from data_prep.schema import Schema, criteo_schema
from data_prep.sources import CriteoTsv, Encoding, LogFormat
from data_prep.vocabulary import Vocabulary

CRITEO = "criteo"
MODULO, FREQUENCY = "modulo", "frequency"
HASHES = (MODULO, FREQUENCY)
DEFAULT_BUCKETS, DEFAULT_THRESHOLD = 10_000, 3
LEAST_ROWS, MAX_ROWS = 2, (1 << 31) - 1
"""Of a table: one for missing cells and one for ids; ids are 32-bit."""


def read_schema(name: str, buckets: int) -> tuple[Schema, LogFormat, str]:
    """The columns, the format and the dense transform that `criteo` or the path of a schema TOML stands for; `buckets` of the
    categorical columns that do not say themselves. Raises DataError for a schema that cannot be used."""
    if name == CRITEO:
        return criteo_schema(buckets), CriteoTsv(), "log1p"
    from data_prep.table_format import TableFormat
    from data_prep.table_schema import load_table_schema

    table = load_table_schema(name)
    return table.schema(buckets), TableFormat(table), table.dense_transform


@dataclass(frozen=True)
class PrepareOptions:
    """`max_bad_share` only decides whether there are any shards; all else decides what is in them.

    With `hash` frequency, the schema's num_embeddings are the most ids a column may have, until `with_vocabulary` knows how many
    it has. `vocabulary_from` is a vocabulary to use as it is, without counting; `threshold` and `buckets` are then its own.
    """

    schema: Schema
    buckets: int | None
    part_rows: int
    max_bad_share: float
    format: LogFormat = field(default_factory=CriteoTsv)
    dense: str = "log1p"
    hash: str = MODULO
    threshold: int = DEFAULT_THRESHOLD
    vocabulary_from: Path | None = None
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        if self.part_rows < 1:
            raise DataError(f"part rows = {self.part_rows}: must be above 0")
        if not 0 <= self.max_bad_share <= 1:
            raise DataError(f"max bad share = {self.max_bad_share}: must lie in [0, 1]")
        if self.hash not in HASHES:
            raise DataError(f"hash = {self.hash!r}: must be {' or '.join(HASHES)}")
        if self.threshold < 1:
            raise DataError(f"threshold = {self.threshold}: must be above 0; 1 keeps every id")
        dense_transform(self.dense)
        for feature in self.schema.categorical:
            if not LEAST_ROWS <= feature.num_embeddings <= MAX_ROWS:
                raise DataError(f"{feature.name}: buckets = {feature.num_embeddings}: must lie between {LEAST_ROWS} and {MAX_ROWS:,}")

    @property
    def by_frequency(self) -> bool:
        return self.hash == FREQUENCY

    @property
    def parameters(self) -> dict[str, Any]:
        """As recorded in the manifest; without what a vocabulary will add while there is none."""
        return {
            **self.format.parameters,
            "dense_transform": dense_transform(self.dense).formula,
            "missing_dense": 0,
            "hash": self.hash,
            **self._hash_parameters(),
            "missing_id": MISSING_ID,
            "part_rows": self.part_rows,
        }

    def _hash_parameters(self) -> dict[str, Any]:
        if not self.by_frequency:
            return {"buckets": self.buckets}
        unknown = {"out_of_vocabulary_id": OUT_OF_VOCABULARY_ID}
        if self.vocabulary is not None:
            return {**self.vocabulary.parameters, **unknown}
        return unknown if self.vocabulary_from else {"threshold": self.threshold, "buckets": self.buckets, **unknown}

    def record(self) -> dict[str, Any]:
        """All that the bytes of a day depend on, beside its logs; without the schema while its sizes are not known."""
        known = self.vocabulary is not None or not self.by_frequency
        return {**self.parameters, **({"schema": self.schema.to_json()} if known else {})}

    def with_vocabulary(self, vocabulary: Vocabulary) -> PrepareOptions:
        """These options with the sizes of `vocabulary`. Raises DataError when it is one of other columns or of another kind of log."""
        ours, theirs = [feature.name for feature in self.schema.categorical], [column.name for column in vocabulary.columns]
        if ours != theirs or vocabulary.input != dict(self.format.parameters):
            raise DataError(
                f"the vocabulary is one of {vocabulary.input} with columns {', '.join(theirs)}, not of these logs: choose another"
            )
        return replace(self, schema=vocabulary.sized(self.schema), vocabulary=vocabulary)

    def encoding(self, index: Sequence[Path]) -> Encoding:
        """`index` holds the vocabulary's hash tables, one a column; modulo needs none."""
        encoder: Encoder = FrequencyEncoder(index) if self.by_frequency else ModuloEncoder(self.schema)
        return Encoding(self.schema, encoder, dense_transform(self.dense))
