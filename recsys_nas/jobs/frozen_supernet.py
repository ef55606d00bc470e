"""A trained supernet above tables at rest: what is looked up once is kept, and any of its members judged in a moment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recsys_nas.cost import dense_flops
from recsys_nas.model import InteractionArch
from recsys_nas.search.proxies import proxies
from recsys_nas.search.strategy import LOSS, TrialFailed
from recsys_nas.space import Architecture
from recsys_nas.supernet import Supernet
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.metrics import Quality, gather_rows, judge
from recsys_nas.training.reader import ShardReader
from recsys_nas.training.roc import Roc

ROWS_AT_ONCE = 8192
# NASRec's for tuning the last layer (nasrec/scripts/run_ea in its code).
TUNING_BATCH, TUNING_RATE, TUNING_EPSILON = 512, 0.04, 1e-2


@dataclass(frozen=True)
class FrozenRows:
    """Rows whose embeddings no longer move: dense `[R, I]`, tokens `[R, F, D]`, labels `[R]`."""

    dense: Tensor
    tokens: Tensor
    labels: Tensor

    @staticmethod
    def of(model: CtrModel, reader: ShardReader, device: torch.device) -> FrozenRows:
        """All rows of the reader on this rank; every rank must call it."""
        parts = []
        for batch in reader:
            moved, valid = batch.to(device), batch.valid
            parts.append((moved.dense[:valid], model.embed(moved)[:valid], moved.labels[:valid]))
        return FrozenRows(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def over_ranks(self) -> FrozenRows:
        """The rows of all ranks, on every rank."""
        return FrozenRows(*(gather_rows(values).to(values.device) for values in (self.dense, self.tokens, self.labels)))

    def chunks(self, rows: int) -> Iterator[FrozenRows]:
        """Of about equal sizes, at most `rows`: a path may be normalised by the statistics of its chunk, which a small last one skews."""
        parts = max(1, -(-len(self.labels) // rows))
        for columns in zip(*(torch.tensor_split(values, parts) for values in (self.dense, self.tokens, self.labels)), strict=True):
            yield FrozenRows(*columns)


@dataclass(frozen=True)
class FrozenSupernet:
    """Judges members by the supernet's weights on `validation` rows, each rank on its own; their last layers are tuned on
    `tuning` rows first, the same on every rank (None: not at all). Scores them on `scoring` batches, the same on every rank too."""

    supernet: Supernet
    validation: FrozenRows
    tuning: FrozenRows | None
    scoring: tuple[FrozenRows, ...]

    def judge(self, architecture: Architecture) -> Mapping[str, float]:
        """Figures of the validation rows. Raises TrialFailed for predictions that are no numbers."""
        network = self.supernet.extract(architecture)
        if self.tuning is not None:
            tune_last_layer(network, self.tuning)
        with torch.no_grad():
            rows = self.validation.chunks(ROWS_AT_ONCE)
            predicted = torch.cat([torch.sigmoid(network(chunk.dense, chunk.tokens)) for chunk in rows])
        check_finite(gather_rows(predicted))
        return figures_of(judge(Roc.of(predicted.cpu(), self.validation.labels.cpu()).over_ranks()))

    def score(self, architecture: Architecture) -> Mapping[str, float]:
        """Its proxies (`recsys_nas.search.proxies`)."""
        batches = [(rows.dense, rows.tokens, rows.labels) for rows in self.scoring]
        return proxies(self.supernet.extract(architecture), batches, dense_flops(architecture))


def check_finite(predicted: Tensor) -> None:
    """Raises TrialFailed unless all predictions, those of every rank, are numbers."""
    if not torch.isfinite(predicted).all():
        raise TrialFailed("its predictions are not finite")


def figures_of(quality: Quality) -> dict[str, float]:
    """What trials are compared by. NE and AUC are left out where the rows are of one class."""
    figures = {LOSS: quality.logloss, "ne": quality.ne, "auc": quality.auc}
    return {name: value for name, value in figures.items() if name == LOSS or math.isfinite(value)}


def tune_last_layer(network: InteractionArch, rows: FrozenRows) -> None:
    """Train head, linear skip and bias of `network` by one pass over the rows, everything below them at rest (NASRec, section 3.3).

    What the last layer reads is worked out once. A path's own last layer was never trained: the supernet's serves all of them.
    """
    with torch.no_grad():
        features = [network.last_features(chunk.dense, chunk.tokens) for chunk in rows.chunks(ROWS_AT_ONCE)]
    read, raw = (torch.cat(columns) for columns in zip(*features, strict=True))
    last = [layer for layer in (network.head, network.skip, network.bias) if layer is not None and layer.numel()]
    optimizer = torch.optim.Adagrad(last, lr=TUNING_RATE, eps=TUNING_EPSILON)
    for start in range(0, len(rows.labels), TUNING_BATCH):
        part = slice(start, start + TUNING_BATCH)
        logits = network.bias + F.linear(read[part], network.head) if network.head.numel() else network.bias
        if network.skip is not None:
            logits = logits + F.linear(raw[part], network.skip)
        loss = F.binary_cross_entropy_with_logits(logits.squeeze(1), rows.labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
