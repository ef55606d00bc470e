"""From features to tables, and from the tables' output to tokens: by name in any order of the plan, means of lists."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchrec import KeyedJaggedTensor, KeyedTensor

from data_prep.schema import JaggedFeature, Schema, SparseFeature
from embeddings.config import EmbeddingConfig
from embeddings.tables import embedding_tables, mean_of_sums, table_rows, tokens_by_name

NAMES = ["zip", "ad", "hour", "seen"]


@given(st.permutations(NAMES), st.integers(1, 4).map(lambda k: NAMES[:k]))
def test_tokens_and_their_gradients_follow_the_names(keys: list[str], names: list[str]) -> None:
    values = torch.arange(3.0 * 4 * 2).view(3, 8).requires_grad_()
    embeddings = KeyedTensor(keys=keys, length_per_key=[2] * 4, values=values)
    tokens = tokens_by_name(embeddings, names)
    assert torch.equal(tokens, torch.stack([embeddings[name] for name in names], dim=1))
    weights = torch.arange(1.0, len(names) + 1)
    (tokens * weights[None, :, None]).sum().backward()
    expected = torch.zeros(4)
    for name, weight in zip(names, weights, strict=True):
        expected[keys.index(name)] = weight
    assert torch.equal(values.grad, expected.repeat_interleave(2).expand(3, 8))  # type: ignore[arg-type]


def test_nothing_is_copied_where_the_plan_kept_the_order() -> None:
    values = torch.zeros(3, 8)
    assert tokens_by_name(KeyedTensor(keys=NAMES, length_per_key=[2] * 4, values=values), NAMES).data_ptr() == values.data_ptr()


def test_means_are_over_the_ids_of_each_example_whatever_the_order_of_the_keys() -> None:
    # One id each in zip; 2, 0 and 1 ids in seen.
    features = KeyedJaggedTensor.from_lengths_sync(["zip", "seen"], torch.arange(6), torch.tensor([1, 1, 1, 2, 0, 1]))
    sums = torch.tensor([[[6.0], [3.0]], [[0.0], [4.0]], [[8.0], [5.0]]])
    expected = torch.tensor([[[3.0], [3.0]], [[0.0], [4.0]], [[8.0], [5.0]]])
    assert torch.equal(mean_of_sums(sums, features, ["seen", "zip"]), expected)
    assert torch.equal(mean_of_sums(sums.flip(1), features, ["zip", "seen"]), expected.flip(1))


def test_every_feature_may_have_a_table_whatever_its_name() -> None:
    names = ["user.id", "user%2Eid", "a/b", "C1"]
    schema = Schema("label", (), tuple(SparseFeature(name, 5) for name in names), (JaggedFeature("seen.items", 7, 3),))
    tables = embedding_tables(schema, EmbeddingConfig(dim=4)).embedding_bag_configs()
    assert len({table.name for table in tables}) == 5
    assert not any(mark in table.name for table in tables for mark in "./")
    assert [(t.name, t.num_embeddings, t.pooling.value) for t in tables][3:] == [("t_C1", 5, "SUM"), ("t_seen%2Eitems", 7, "MEAN")]
    assert table_rows(schema, EmbeddingConfig(max_rows=6)) == dict.fromkeys(names, 5) | {"seen.items": 6}
