"""What tables are given: ids within their rows, every feature, decay that follows what was looked up, answers of the first rank."""

from __future__ import annotations

import pytest
import torch
from torchrec import KeyedJaggedTensor

from embeddings.decay import decayed
from embeddings.errors import TableError
from embeddings.first_rank import on_first_rank
from embeddings.tables import check_features, check_ids
from recsys_nas.jobs.environment import Ranks


def jagged(values: list[int], lengths: list[int]) -> KeyedJaggedTensor:
    return KeyedJaggedTensor.from_lengths_sync(["zip", "ad"], torch.tensor(values), torch.tensor(lengths))


def test_ids_within_their_tables_pass() -> None:
    check_ids(jagged([0, 9, 4, 99], [1, 1, 1, 1]), {"zip": 10, "ad": 100})
    check_ids(jagged([0, 9, 10**6], [2, 0, 1, 0]), {"zip": 10})  # no table for ad
    check_ids(jagged([], [0, 0, 0, 0]), {"zip": 10, "ad": 100})


@pytest.mark.parametrize(
    ("values", "lengths", "message"),
    [
        ([0, 10, 4, 99], [1, 1, 1, 1], "id 10 of feature zip lies outside its table of 10 rows"),
        ([0, 9, 4, 100], [1, 1, 1, 1], "id 100 of feature ad lies outside its table of 100 rows"),
        ([0, 9, -1], [2, 0, 0, 1], "id -1 of feature ad lies outside"),
    ],
)
def test_an_id_outside_its_table_is_named(values: list[int], lengths: list[int], message: str) -> None:
    with pytest.raises(TableError, match=message):
        check_ids(jagged(values, lengths), {"zip": 10, "ad": 100})


def test_a_missing_feature_is_named() -> None:
    check_features(jagged([1, 2], [1, 1]), ["ad"])
    with pytest.raises(TableError, match="no feature hour, which there is a table for; they hold zip, ad"):
        check_features(jagged([1, 2], [1, 1]), ["ad", "hour"])


def test_decay_is_the_gradient_of_the_penalty_it_names() -> None:
    tokens = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    decayed(tokens, 0.3).sin().sum().backward()
    other = tokens.detach().clone().requires_grad_()
    (other.sin().sum() + 0.3 / 2 * other.square().sum(dim=(1, 2)).mean()).backward()
    assert torch.allclose(tokens.grad, other.grad)  # type: ignore[arg-type]
    assert decayed(tokens, 0.0) is tokens


def test_the_first_rank_answers_or_fails_for_all(ranks: Ranks) -> None:
    assert on_first_rank(lambda: 3) == 3

    def fail() -> None:
        raise TableError("no plan")

    with pytest.raises(TableError, match="no plan"):
        on_first_rank(fail)
