"""A small model trained under one sharding plan after another, on as many ranks as this program is started with.

It writes to the file it is given, for each case named after it (all, when none is), what must not depend on the plan: whole
tables, before and after, first logits, and the loss of each step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.nn import functional as F
from torchrec import EmbeddingBagCollection, KeyedJaggedTensor

from data_prep.schema import JaggedFeature, Schema, SparseFeature
from embeddings.config import EmbeddingConfig, TableConstraints
from embeddings.decay import decayed
from embeddings.sharding import averages, shard
from embeddings.tables import mean_of_sums, tokens_by_name
from recsys_nas.jobs.environment import process_group

# Names whose order in the schema is neither the alphabet's nor that of their sizes.
ONE_ID = (SparseFeature("zip", 90), SparseFeature("ad", 300), SparseFeature("hour", 7))
SCHEMA = Schema("label", ("I1",), ONE_ID, (JaggedFeature("seen", 40, max_length=4), JaggedFeature("clicked", 30, max_length=4)))
NAMES = [feature.name for feature in SCHEMA.categorical]
STEPS, ROWS = 12, 96
KINDS = ("table_wise", "column_wise", "row_wise", "table_row_wise", "grid_shard", "data_parallel")
WHOLE_ROWS = ("table_wise", "row_wise", "table_row_wise", "data_parallel")


class Tower(nn.Module):
    """Tables below two layers, so that features in a wrong order would be seen."""

    def __init__(self, tables: EmbeddingBagCollection, weight_decay: float, average: bool) -> None:
        super().__init__()
        self.tables, self.weight_decay, self.average = tables, weight_decay, average
        self.hidden, self.out = nn.Linear(len(NAMES) * 8, 6), nn.Linear(6, 1)

    def forward(self, features: KeyedJaggedTensor) -> Tensor:
        tokens = tokens_by_name(self.tables(features), NAMES)
        tokens = mean_of_sums(tokens, features, NAMES) if self.average else tokens
        return self.logits(decayed(tokens, self.weight_decay))

    def logits(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.hidden(tokens.flatten(1)))).squeeze(1)
        return out


def cases() -> dict[str, EmbeddingConfig]:
    """Every sharding type with the optimizers that can do it; weight decay; sums of lists; mixed plans."""
    made = {}
    for optimizer in ("sgd", "adagrad", "rowwise_adagrad"):
        for kind in WHOLE_ROWS if optimizer == "rowwise_adagrad" else KINDS:
            made[f"{optimizer} {kind}"] = config(optimizer, kind)
    for kind in ("table_wise", "row_wise", "data_parallel"):
        made[f"decay {kind}"] = config("sgd", kind, weight_decay=0.5)
        made[f"sums {kind}"] = config("sgd", kind, pooling="sum")
    mixed = {"zip": {"sharding": ("data_parallel",)}, "ad": {"sharding": ("row_wise",)}, "seen": {"sharding": ("row_wise",)}}
    made["rowwise_adagrad mixed"] = config("rowwise_adagrad", "table_wise", tables=mixed)
    return made


def config(optimizer: str, kind: str, **more: Any) -> EmbeddingConfig:
    more["tables"] = {name: TableConstraints(**wish) for name, wish in more.get("tables", {}).items()}
    partition = 0 if optimizer == "rowwise_adagrad" else 4
    rate = {"sgd": 4.0, "adagrad": 0.1, "rowwise_adagrad": 0.1}[optimizer]
    return EmbeddingConfig(
        dim=8,
        optimizer=optimizer,
        sharding=(kind,),  # type: ignore[arg-type]
        min_partition=partition,
        learning_rate=rate,
        init_scale=0.5,
        **more,
    )


def step_rows(step: int) -> tuple[KeyedJaggedTensor, Tensor]:
    """This rank's share of the rows of a step."""
    generator = torch.Generator().manual_seed(step)
    lists = len(SCHEMA.jagged)
    lengths = torch.cat([torch.ones(len(ONE_ID), ROWS), torch.randint(0, 5, (lists, ROWS), generator=generator)]).int()
    ids = [
        torch.randint(0, feature.num_embeddings, (int(count.sum()),), generator=generator).split(count.tolist())
        for feature, count in zip(SCHEMA.categorical, lengths, strict=True)
    ]
    labels = (torch.cat(ids[2]) % 2 == 0).float()
    mine = slice(dist.get_rank() * ROWS // dist.get_world_size(), (dist.get_rank() + 1) * ROWS // dist.get_world_size())
    share = torch.cat([torch.cat(rows[mine]) for rows in ids])
    return KeyedJaggedTensor.from_lengths_sync(NAMES, share, lengths[:, mine].reshape(-1)), labels[mine]


def train(case: EmbeddingConfig) -> dict[str, Any]:
    torch.manual_seed(1)
    average = averages(SCHEMA, case)
    sharded = shard(SCHEMA, case, lambda tables: Tower(tables, case.weight_decay, average), torch.device("cpu"), seed=3, batch_size=ROWS)
    model = sharded.model
    dense = [parameter for name, parameter in model.named_parameters() if "tables." not in name]
    optimizer = torch.optim.SGD(dense, lr=0.5)
    tables = whole_tables(model)
    with torch.no_grad():
        logits = gathered(model(step_rows(0)[0]))
    losses = []
    for step in range(STEPS):
        features, labels = step_rows(step)
        optimizer.zero_grad()
        sharded.optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(features), labels)
        loss.backward()
        for parameter in dense:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
        optimizer.step()
        sharded.optimizer.step()
        losses.append(float(gathered(loss.detach()[None]).mean()))
    return {
        "tables": {name: table.tolist() for name, table in tables.items()},
        "logits": logits.tolist(),
        "losses": losses,
        "trained": {name: table.tolist() for name, table in whole_tables(model).items()},
        "sharding": {table.name: [table.sharding, table.kernel, len(table.shards)] for table in sharded.plan.tables},
    }


def whole_tables(model: nn.Module) -> dict[str, Tensor]:
    """Whole tables by name, complete on rank 0."""
    whole = {}
    for name, value in model.state_dict().items():
        if ".embedding_bags." in name:
            table = value.detach().clone() if not isinstance(value, ShardedTensor) else torch.empty(0)
            if isinstance(value, ShardedTensor):
                table = torch.zeros(value.metadata().size)
                value.gather(0, table if dist.get_rank() == 0 else None)
            whole[name.split(".")[-2]] = table
    return whole


def gathered(values: Tensor) -> Tensor:
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def main() -> None:
    torch.set_num_threads(1)
    with process_group() as ranks:
        wanted = sys.argv[2:] or list(cases())
        results = {name: train(case) for name, case in cases().items() if name in wanted}
        if ranks.is_first:
            Path(sys.argv[1]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
