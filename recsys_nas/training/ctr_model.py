"""A whole model: sharded tables below, an interaction network above.

TorchRec's pipeline traces `forward` down to the tables, so that here the batch is only read by attribute, and whatever
computes is a module of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, KeyedJaggedTensor, KeyedTensor

from embeddings.decay import decayed
from embeddings.tables import mean_of_sums, tokens_by_name
from recsys_nas.training.computation import PLAIN, Computation, Computed
from recsys_nas.training.reader import Batch


class CtrModel(nn.Module):
    """Looks a batch up and hands it to `network`, a module from `[B, I]` and `[B, F, D]` to logits `[B]`.

    `names` are the features in the network's order, `weight_decay` that of the tables. `average` where the tables return sums
    of lists and the network is to see means (`embeddings.sharding.averages`). `computation`: how the network is called.
    """

    def __init__(
        self,
        tables: EmbeddingBagCollection,
        names: list[str],
        network: nn.Module,
        weight_decay: float = 0.0,
        average: bool = False,
        computation: Computation = PLAIN,
    ) -> None:
        super().__init__()
        self.tables = tables
        self.names = names
        self.network = network
        self.computed = Computed(network, computation)
        self.tokens = _Tokens(names, weight_decay, average)

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.computed(batch.dense, self.tokens(self.tables(batch.sparse), batch.sparse))
        return logits

    def embed(self, batch: Batch) -> Tensor:
        """Tokens `[B, F, D]` in the order of `names`, without a gradient: for what is done above tables at rest."""
        with torch.no_grad():
            tokens: Tensor = self.tokens(self.tables(batch.sparse), batch.sparse)
        return tokens


class SearchModel(CtrModel):
    """The same, made alike, with a network under search, which draws the noise of its gates from the step and the rows of the batch."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.rows = _RowsOfStep()

    def forward(self, batch: Batch) -> Tensor:
        tokens = self.tokens(self.tables(batch.sparse), batch.sparse)
        logits: Tensor = self.computed(batch.dense, tokens, batch.index, self.rows(batch), batch.step_rows)
        return logits


class SupernetModel(CtrModel):
    """The same with a supernet (`recsys_nas.sampled_supernet`), which draws its path from the step and compares it with a baseline."""

    def forward(self, batch: Batch) -> Tensor:
        tokens = self.tokens(self.tables(batch.sparse), batch.sparse)
        logits: Tensor = self.computed(batch.dense, tokens, batch.labels, batch.index)
        return logits


class _Tokens(nn.Module):
    """From what the tables return, in the order of the plan, to `[B, F, D]` in the order of `names`."""

    def __init__(self, names: list[str], weight_decay: float, average: bool) -> None:
        super().__init__()
        self.names, self.weight_decay, self.average = names, weight_decay, average

    def forward(self, embeddings: KeyedTensor, features: KeyedJaggedTensor) -> Tensor:
        tokens = tokens_by_name(embeddings, self.names)
        return decayed(mean_of_sums(tokens, features, self.names) if self.average else tokens, self.weight_decay)


class _RowsOfStep(nn.Module):
    """Which rows of the step's batch this rank has."""

    def forward(self, batch: Batch) -> slice:
        return slice(batch.start, batch.start + len(batch.labels))
