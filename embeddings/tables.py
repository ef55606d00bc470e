"""From a schema to an EmbeddingBagCollection, one table a sparse feature, and from its output back to features in order."""

from __future__ import annotations

import torch
from torch import Tensor
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedTensor

from data_prep.schema import Schema
from embeddings.config import EmbeddingConfig


def table_rows(schema: Schema, config: EmbeddingConfig) -> dict[str, int]:
    """Rows of each feature's table: as many as the schema has ids, or the cap."""
    cap = config.max_rows
    return {feature.name: min(feature.num_embeddings, cap) if cap else feature.num_embeddings for feature in schema.sparse}


def embedding_tables(schema: Schema, config: EmbeddingConfig) -> EmbeddingBagCollection:
    """The collection on the meta device: no memory until it is sharded (`embeddings.sharding.shard`)."""
    return EmbeddingBagCollection(
        device=torch.device("meta"),
        tables=[
            EmbeddingBagConfig(name=f"t_{name}", embedding_dim=config.dim, num_embeddings=rows, feature_names=[name])
            for name, rows in table_rows(schema, config).items()
        ],
    )


def tokens_by_name(embeddings: KeyedTensor, names: list[str]) -> Tensor:
    """`[B, len(names), D]` in the order of `names`; a sharded collection returns its features in the order of the plan."""
    grouped = KeyedTensor.regroup([embeddings], [names])[0]
    return grouped.view(grouped.shape[0], len(names), -1)
