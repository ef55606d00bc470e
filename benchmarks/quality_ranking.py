"""How well a searched supernet ranks networks: its judgement of each, with the gates set hard, against their AUC when trained alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from embeddings.tables import embedding_tables, table_rows
from recsys_nas.config import ConfigError
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.search.agreement import kendall_tau
from recsys_nas.search.dnas import GatedNetwork, Gating
from recsys_nas.space import Architecture
from recsys_nas.training.checkpoint import Checkpointer, Retention
from recsys_nas.training.ctr_model import CtrModel
from recsys_nas.training.metrics import quality
from recsys_nas.training.reader import Batch

BATCH = 4096
RESAMPLES = 2000


def ranking(run: Run, networks: Mapping[str, Architecture], alone: Mapping[str, float], ranks: Ranks) -> dict[str, Any]:
    """Kendall's tau-b between the AUC that networks reach `alone`, by their names, and the AUC that the run's supernet gives each.

    The supernet is that of the first searched day, judged on the validation days, or the test day where there are none. The interval
    is that of 2,000 resamples of the networks. Raises ConfigError where nothing has been searched.
    """
    names = sorted(alone)
    run = run.searching()
    model = _supernet(run)
    judged = {name: _auc(model, run, networks[name], ranks) for name in names}
    values = np.array([[judged[name], alone[name]] for name in names])
    return {"networks": len(names), "supernet_auc": judged, "alone_auc": dict(alone)} | _tau_with_interval(values)


def _tau_with_interval(values: np.ndarray) -> dict[str, Any]:
    generator = np.random.Generator(np.random.Philox(0))
    draws = (values[generator.integers(len(values), size=len(values))] for _ in range(RESAMPLES))
    taus = [kendall_tau(draw[:, 0], draw[:, 1]) for draw in draws]
    low, high = np.nanpercentile(taus, (2.5, 97.5))
    return {"kendall_tau": kendall_tau(values[:, 0], values[:, 1]), "kendall_tau_ci95": [float(low), float(high)]}


def _supernet(run: Run) -> CtrModel:
    space = run.space()
    tables = embedding_tables(run.schema, run.config.embedding).to_empty(device=torch.device("cpu"))
    gating = Gating(decoys=run.config.search.decoys)
    model = CtrModel(tables, list(table_rows(run.schema, run.config.embedding)), GatedNetwork(space, 0, gating, run.config.seed))
    folder = next(iter(sorted((run.folder / "days").glob("day=*"))), run.folder / "days")
    if not Checkpointer(folder / "checkpoint", Retention(0)).load_weights(model):
        raise ConfigError(f"{folder} holds no checkpoint of a search; run --stage search first")
    return model.eval()


def _auc(model: CtrModel, run: Run, network: Architecture, ranks: Ranks) -> float:
    days, space = run.config.data.validation or (run.config.data.test_day,), run.space()
    member = space.architecture(space.kept_gates(network))
    with torch.no_grad():
        batches = [(_logits(model, batch, member)[: batch.valid], batch.labels[: batch.valid]) for batch in _batches(run, days, ranks)]
    logits, labels = zip(*batches, strict=True)
    return quality(torch.sigmoid(torch.cat(logits)), torch.cat(labels)).auc


def _batches(run: Run, days: tuple[int, ...], ranks: Ranks) -> Iterable[Batch]:
    return run.reader(days, ranks, BATCH, shuffle_seed=None)


def _logits(model: CtrModel, batch: Batch, member: Architecture) -> torch.Tensor:
    """Of the member on slices of the supernet's weights, batch normalisation by the batch's own statistics."""
    network = model.network
    assert isinstance(network, GatedNetwork)
    logits: torch.Tensor = network.supernet(batch.dense, model.tokens(model.tables(batch.sparse), batch.sparse), member)
    return logits
