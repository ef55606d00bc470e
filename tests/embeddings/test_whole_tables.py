"""Adam over whole tables: the steps of torch.optim.Adam on an ordinary embedding, penalty and idle rows included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, KeyedJaggedTensor

from data_prep.schema import Schema, SparseFeature
from embeddings.config import EmbeddingConfig, TableConstraints
from embeddings.planner import state_bytes
from embeddings.sharding import shard
from embeddings.tables import tokens_by_name
from recsys_nas.jobs.environment import Ranks

pytestmark = pytest.mark.filterwarnings("ignore:.*an autograd kernel was not registered:UserWarning")  # fbgemm's dense lookup on a CPU

NAMES, ROWS, DIM = ["zip", "ad"], (9, 5), 6
SCHEMA = Schema("label", (), tuple(SparseFeature(name, rows) for name, rows in zip(NAMES, ROWS, strict=True)))
ADAM = EmbeddingConfig(dim=DIM, optimizer="adam", learning_rate=1e-2, weight_decay=0.05, init_scale=0.3)


class Tables(nn.Module):
    def __init__(self, tables: EmbeddingBagCollection) -> None:
        super().__init__()
        self.tables = tables

    def forward(self, ids: Tensor) -> Tensor:
        features = KeyedJaggedTensor.from_lengths_sync(NAMES, ids.view(-1), torch.ones(ids.numel(), dtype=torch.int32))
        return tokens_by_name(self.tables(features), NAMES)


def test_its_steps_are_those_of_an_ordinary_embedding(ranks: Ranks) -> None:
    sharded = shard(SCHEMA, ADAM, Tables, ranks.device, seed=0)
    assert {table.sharding for table in sharded.plan.tables} == {"data_parallel"}
    assert len(sharded.replicated) == 2
    peers = [nn.Embedding.from_pretrained(weight.detach().clone(), freeze=False) for weight in sharded.replicated.values()]
    optimizer = torch.optim.Adam([peer.weight for peer in peers], lr=1e-2, weight_decay=0.05)
    for step in range(5):
        # Rows 0 to 3 at most: the others are never looked up, and are pulled to zero all the same.
        ids = torch.randint(0, 4, (2, 8), generator=torch.Generator().manual_seed(step))
        target = torch.linspace(-1, 1, 8 * 2 * DIM).view(8, 2, DIM)
        for looked_up, own, parts in (
            (sharded.model(ids), sharded.optimizer, None),
            (torch.stack([peer(row) for peer, row in zip(peers, ids, strict=True)], dim=1), optimizer, peers),
        ):
            own.zero_grad()
            (looked_up - target).square().mean().backward()
            own.step()
            assert parts is None or parts[0].weight.grad is not None
    for weight, peer in zip(sharded.replicated.values(), peers, strict=True):
        torch.testing.assert_close(weight.detach(), peer.weight.detach(), rtol=1e-5, atol=1e-6)


def test_tables_are_replicated_and_nothing_else_is_allowed() -> None:
    assert ADAM.constraints("zip").sharding == ("data_parallel",)
    assert (ADAM.decay_of_lookups, EmbeddingConfig(weight_decay=0.1).decay_of_lookups) == (0.0, 0.1)
    assert state_bytes("adam", 10, 6) == 10 * 6 * 8
    with pytest.raises(ValueError, match=r"embedding.sharding = \['row_wise'\]: adam goes over whole tables.*leave sharding empty"):
        EmbeddingConfig(optimizer="adam", sharding=("row_wise",))
    with pytest.raises(ValueError, match=r"embedding.tables.zip.sharding = \['table_wise'\]: adam goes over"):
        EmbeddingConfig(optimizer="adam", tables={"zip": TableConstraints(sharding=("table_wise",))})
    with pytest.raises(ValueError, match=r"embedding\.dim = 10: must be a positive multiple of 4"):
        EmbeddingConfig(dim=10)
