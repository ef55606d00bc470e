"""Sharded tables: the same weights under every plan, features by name, the optimizer of the config."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, KeyedJaggedTensor, KeyedTensor

from data_prep.schema import Schema, SparseFeature
from embeddings import initialise, sharding
from embeddings.config import EmbeddingConfig
from embeddings.errors import TableError
from embeddings.tables import table_rows, tokens_by_name
from recsys_nas.jobs.environment import Ranks

# Names whose order in the schema is not the alphabet's, nor that of their sizes.
SCHEMA = Schema("label", ("I1",), (SparseFeature("zip", 90), SparseFeature("ad", 300), SparseFeature("hour", 24)))
NAMES = ["zip", "ad", "hour"]
IDS = torch.tensor([[5, 80, 0, 5], [299, 7, 7, 1], [23, 0, 11, 2]])


@pytest.fixture
def alone(ranks: Ranks) -> torch.device:
    """The device of the process group of one, which sharding needs even on one process."""
    return ranks.device


class Tables(nn.Module):
    def __init__(self, tables: EmbeddingBagCollection) -> None:
        super().__init__()
        self.tables = tables

    def forward(self, features: KeyedJaggedTensor) -> Tensor:
        return tokens_by_name(self.tables(features), NAMES)


def sharded(config: EmbeddingConfig, device: torch.device, seed: int = 0) -> nn.Module:
    return sharding.shard(SCHEMA, config, Tables, device, seed).model


def features() -> KeyedJaggedTensor:
    return KeyedJaggedTensor.from_lengths_sync(NAMES, IDS.view(-1), torch.ones(IDS.numel(), dtype=torch.int32))


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Whole tables by name, put together from their shards."""
    whole = {}
    for name, value in model.state_dict().items():
        table = torch.empty(value.metadata().size)
        for shard in value.local_shards():
            row, column = shard.metadata.shard_offsets
            table[row : row + shard.tensor.shape[0], column : column + shard.tensor.shape[1]] = shard.tensor
        whole[name.split(".")[-2]] = table
    return whole


def test_tokens_are_the_rows_of_each_table_in_the_order_of_the_names(alone: torch.device) -> None:
    model = sharded(EmbeddingConfig(dim=8), alone)
    rows = weights(model)
    expected = torch.stack([rows[f"t_{name}"][ids] for name, ids in zip(NAMES, IDS, strict=True)], dim=1)
    assert torch.equal(model(features()), expected)


def test_first_weights_do_not_depend_on_the_plan(alone: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialise, "ROWS_PER_BLOCK", 64)  # so that tables span several blocks
    plans = []
    for kind in ("table_wise", "column_wise"):
        config = EmbeddingConfig(dim=256, init_scale=0.1, sharding=(kind,), min_partition=64, optimizer="sgd")
        plans.append(weights(sharded(config, alone)))
    assert all(torch.equal(plans[0][name], plans[1][name]) for name in plans[0])
    for table in plans[0].values():
        assert float(table.std()) == pytest.approx(0.1, rel=0.05)
        assert float(table.mean()) == pytest.approx(0.0, abs=0.005)


def test_first_weights_depend_on_the_seed_and_the_table(alone: torch.device) -> None:
    config = EmbeddingConfig(dim=8)
    first, again, other = (weights(sharded(config, alone, seed)) for seed in (1, 1, 2))
    assert torch.equal(first["t_ad"], again["t_ad"])
    assert not torch.equal(first["t_ad"], other["t_ad"])
    assert not torch.equal(first["t_ad"][:24], first["t_hour"])


def test_a_shard_of_some_rows_and_columns_holds_its_part_of_the_table() -> None:
    whole, part = torch.empty(300, 8), torch.empty(70, 4)
    initialise._fill(whole, "t", 3, 1.0, (0, 0, 8))
    initialise._fill(part, "t", 3, 1.0, (100, 4, 8))
    assert torch.equal(part, whole[100:170, 4:])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", lambda row, gradient: row - 0.5 * gradient),
        ("adagrad", lambda row, gradient: row - 0.5 * gradient / (gradient.abs() + 1e-8)),
        ("rowwise_adagrad", lambda row, gradient: row - 0.5 * gradient / (gradient.square().mean().sqrt() + 1e-8)),
    ],
)
def test_the_optimizer_of_the_config_is_fused_into_the_backward_pass(alone: torch.device, optimizer: str, expected: object) -> None:
    config = EmbeddingConfig(dim=4, optimizer=optimizer, learning_rate=0.5)
    model = sharded(config, alone)
    before = weights(model)["t_hour"].clone()
    direction = torch.tensor([1.0, -2.0, 0.5, 3.0])
    (model(features())[:, 2] @ direction)[0].backward()  # the first row's hour, id 23, alone
    after = weights(model)["t_hour"]
    assert torch.allclose(after[23], expected(before[23], direction), atol=1e-6)  # type: ignore[operator]
    assert torch.equal(after[:23], before[:23])


def test_rates_set_on_the_fused_optimizer_reach_the_tables(alone: torch.device) -> None:
    model = sharded(EmbeddingConfig(dim=4, optimizer="sgd", learning_rate=0.5), alone)
    for group in model.fused_optimizer.param_groups:  # type: ignore[union-attr]
        group["lr"] = 0.0
    model.fused_optimizer.zero_grad()  # type: ignore[union-attr]
    before = weights(model)["t_hour"].clone()
    model(features()).sum().backward()
    assert torch.equal(weights(model)["t_hour"], before)


def test_tables_may_be_capped() -> None:
    assert table_rows(SCHEMA, EmbeddingConfig(max_rows=100)) == {"zip": 90, "ad": 100, "hour": 24}
    assert table_rows(SCHEMA, EmbeddingConfig()) == {"zip": 90, "ad": 300, "hour": 24}


def test_features_are_regrouped_by_name_whatever_the_order_of_the_plan() -> None:
    values = torch.arange(12.0).view(2, 6)
    embeddings = KeyedTensor(keys=["hour", "zip", "ad"], length_per_key=[2, 2, 2], values=values)
    hour, zip_code, ad = values.split(2, dim=1)
    assert torch.equal(tokens_by_name(embeddings, NAMES), torch.stack([zip_code, ad, hour], dim=1))


def test_tables_spread_within_hosts_need_those_of_the_launcher(alone: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "ranks_per_host", lambda world_size: 2)
    sharded(EmbeddingConfig(dim=4, sharding=("row_wise",)), alone)
    with pytest.raises(TableError, match="t_zip is planned table_row_wise for hosts of 1 rank, and the launcher's have 2"):
        sharded(EmbeddingConfig(dim=4, sharding=("table_row_wise",)), alone)
