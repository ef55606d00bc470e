"""From a schema to an EmbeddingBagCollection, one table a sparse or jagged feature, and from its output back to features in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import torch
from torch import Tensor
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, KeyedTensor, PoolingType

from data_prep.schema import Schema
from data_prep.wording import counted
from embeddings.config import EmbeddingConfig
from embeddings.errors import TableError


def table_name(feature: str) -> str:
    """A name of its own for each feature, without the dots and slashes that modules and files cannot have in theirs."""
    return f"t_{quote(feature, safe='').replace('.', '%2E')}"


def table_rows(schema: Schema, config: EmbeddingConfig) -> dict[str, int]:
    """Rows of each feature's table, sparse features before jagged ones: as many as the schema has ids, or the cap."""
    cap = config.max_rows
    return {feature.name: min(feature.num_embeddings, cap) if cap else feature.num_embeddings for feature in schema.categorical}


def embedding_tables(schema: Schema, config: EmbeddingConfig) -> EmbeddingBagCollection:
    """The collection on the meta device: no memory until it is sharded (`embeddings.sharding.shard`), or `to_empty`."""
    lists = {feature.name for feature in schema.jagged}
    pooling = {"mean": PoolingType.MEAN, "sum": PoolingType.SUM}[config.pooling]
    return EmbeddingBagCollection(
        device=torch.device("meta"),
        tables=[
            EmbeddingBagConfig(
                name=table_name(name),
                embedding_dim=config.dim,
                num_embeddings=rows,
                feature_names=[name],
                pooling=pooling if name in lists else PoolingType.SUM,
            )
            for name, rows in table_rows(schema, config).items()
        ],
    )


def tokens_by_name(embeddings: KeyedTensor, names: list[str]) -> Tensor:
    """`[B, len(names), D]` in the order of `names`; a sharded collection returns its features in the order of the plan.

    All features are D wide, so this selects along one axis, and does nothing where the plan kept the order;
    KeyedTensor.regroup takes longer, and copies always (docs/log.md).
    """
    keys, values = embeddings.keys(), embeddings.values()
    tokens = values.view(len(values), len(keys), -1)
    if keys == names:
        return tokens
    order = torch.tensor([keys.index(name) for name in names])
    return tokens.index_select(1, order.to(values.device, non_blocking=True))


def mean_of_sums(tokens: Tensor, features: KeyedJaggedTensor, names: list[str]) -> Tensor:
    """`tokens` `[B, len(names), D]`, the sums over each example's ids, divided by how many `features` had; zeros where none."""
    keys, lengths = features.keys(), features.lengths().view(len(features.keys()), -1)
    if keys != names:
        order = torch.tensor([keys.index(name) for name in names])
        lengths = lengths.index_select(0, order.to(lengths.device, non_blocking=True))
    return tokens / lengths.clamp(min=1).T.unsqueeze(2)


def check_features(batch: KeyedJaggedTensor, names: Sequence[str]) -> None:
    """Raise TableError unless the batch holds every feature that there is a table for."""
    if missing := [name for name in names if name not in set(batch.keys())]:
        raise TableError(f"the batches hold no feature {missing[0]}, which there is a table for; they hold {', '.join(batch.keys())}")


def check_ids(batch: KeyedJaggedTensor, rows: Mapping[str, int]) -> None:
    """Raise TableError naming feature and id when one lies outside its table of `rows` rows; the batch lies on the CPU.

    fbgemm would read another row in its place, or memory that is not the table's.
    """
    values, ends = batch.values(), batch.offset_per_key()
    for name, start, end in zip(batch.keys(), ends, ends[1:], strict=False):
        if name in rows and start < end:
            low, high = (int(bound) for bound in torch.aminmax(values[start:end]))
            if low < 0 or high >= rows[name]:
                wrong = low if low < 0 else high
                todo = "prepare the shards again, or check that they are those of this manifest"
                raise TableError(f"id {wrong} of feature {name} lies outside its table of {counted(rows[name], 'row')}; {todo}")
