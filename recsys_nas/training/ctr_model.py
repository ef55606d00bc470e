"""A whole model: sharded tables below, an interaction network above."""

from __future__ import annotations

from torch import Tensor, nn
from torchrec import EmbeddingBagCollection

from embeddings.tables import tokens_by_name
from recsys_nas.training.reader import Batch


class CtrModel(nn.Module):
    """Looks a batch up and hands it to `network`, a module from `[B, I]` and `[B, F, D]` to logits `[B]`."""

    def __init__(self, tables: EmbeddingBagCollection, names: list[str], network: nn.Module) -> None:
        super().__init__()
        self.tables = tables
        self.names = names
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        tokens = tokens_by_name(self.tables(batch.sparse), self.names)
        return self.network(batch.dense, tokens)


class SearchModel(CtrModel):
    """The same with a network under search, which draws the noise of its gates from the step and the rows of the batch."""

    def forward(self, batch: Batch) -> Tensor:
        tokens = tokens_by_name(self.tables(batch.sparse), self.names)
        return self.network(batch.dense, tokens, batch.index, slice(batch.start, batch.start + len(batch.labels)), batch.step_rows)
