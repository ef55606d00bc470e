"""From the tables' output to tokens: by name in any order of the plan, without a copy where the order is right already."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchrec import KeyedTensor

from embeddings.tables import tokens_by_name

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
