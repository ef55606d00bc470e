"""The one training loop: of the supernet under search, of derived networks and of the models they are compared with."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from embeddings.sharding import ShardedModel
from embeddings.tables import check_features, check_ids
from recsys_nas.config import ConfigError
from recsys_nas.modules.normalised import BatchNorm
from recsys_nas.training.checkpoint import Checkpointer
from recsys_nas.training.early_stopping import EarlyStopping
from recsys_nas.training.job_state import JobState, Progress
from recsys_nas.training.metrics import RunningLoss, gather_rows, judge
from recsys_nas.training.objective import LogLoss, Objective
from recsys_nas.training.optimizers import Clipping, JobOptimizer
from recsys_nas.training.reader import Batch, ShardReader
from recsys_nas.training.roc import Roc
from recsys_nas.training.schedules import Schedule
from recsys_nas.training.stepping import Step, overlapped_steps, plain_steps
from recsys_nas.training.telemetry import Telemetry
from recsys_nas.training.window import gradient_norms

__all__ = ["Diverged", "LogLoss", "Objective", "Parts", "Progress", "Trainer", "Validation", "predict"]


class Diverged(ConfigError):
    """A loss that is no number: nothing can be learnt from there on, and trying again gives the same."""


@dataclass(frozen=True)
class Validation:
    """Rows to judge the model on after each epoch, and what follows from it."""

    reader: ShardReader
    rules: EarlyStopping


@dataclass(frozen=True)
class Parts:
    """What a trainer is put together from. `optimizers` are those of the dense half, by name; `tables` brings its own.

    `overlap`: run TorchRec's pipeline (`recsys_nas.training.stepping`) rather than one step after the other. `clip_norm`: as in
    `recsys_nas.training.optimizers.Clipping` (0: no clipping). `validation`: what to look at after each epoch.
    """

    tables: ShardedModel
    optimizers: Mapping[str, torch.optim.Optimizer]
    objective: Objective
    reader: ShardReader
    device: torch.device
    schedule: Schedule
    overlap: bool = False
    clip_norm: float = 0.0
    validation: Validation | None = None

    @property
    def model(self) -> nn.Module:
        return self.tables.model


class Trainer:
    """Trains one model over one reader, once, from its newest checkpoint."""

    def __init__(self, parts: Parts, checkpointer: Checkpointer) -> None:
        self.parts = parts
        self.checkpointer = checkpointer
        self._optimizer = JobOptimizer(
            parts.optimizers,
            parts.tables.optimizer,
            factor=lambda: parts.schedule.factor(self.progress.step, len(parts.reader)) * self._cut(),
            before_update=self._before_update,
            clipping=Clipping(parts.clip_norm, tuple(parts.tables.replicated.values())) if parts.clip_norm else None,
        )
        self.state = JobState(parts.model, parts.tables.plan, self._optimizer, parts.reader)
        self._reader_states: dict[int, dict[str, Any]] = {}
        self._since_save = RunningLoss()
        self._table_rows = parts.tables.rows_by_feature
        self._telemetry: Telemetry | None = None
        self._made = time.monotonic()
        self.earlier_seconds = 0.0
        """On the clock, of the attempts before this one, up to the checkpoint that it goes on from."""

    @property
    def progress(self) -> Progress:
        return self.state.progress

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint; False when there is none."""
        resumed = self.checkpointer.load(self.state)
        self.earlier_seconds = self.progress.seconds
        return resumed

    def train(self, telemetry: Telemetry) -> Progress:
        """Train to the end of the reader, until the objective is done, or until the validation says to stop; with a validation, go back to
        the best epoch. Every rank takes part."""
        self._telemetry = telemetry
        validation = self.parts.validation
        if validation is None:
            self._train_until(len(self.parts.reader), telemetry)
        else:
            self._train_by_epochs(validation, telemetry)
        self._report(telemetry)
        self._save(self._judged())
        return self.progress

    def _train_by_epochs(self, validation: Validation, telemetry: Telemetry) -> None:
        history = self.progress.validations
        for end in self.parts.reader.epoch_ends[len(history) :]:
            if validation.rules.stops(history):
                break
            self._train_until(end, telemetry)
            figures = self._validate(validation)
            telemetry.scalars(end, {f"valid/{name}": value for name, value in figures.items()})
            history.append(figures | {"step": end})
            if validation.rules.is_best(history):
                self._save({f"valid_{name}": value for name, value in figures.items()})
        self.checkpointer.load_weights(self.parts.model, best=True)

    def _train_until(self, end: int, telemetry: Telemetry) -> None:
        self.parts.model.train()
        began = time.monotonic()
        for batch, figures in self._steps(end):
            self._remember(batch, figures, telemetry)
            self.progress.train_seconds += time.monotonic() - began
            # What is saved at the end must know of the validation there.
            if self.checkpointer.due(self.progress.step) and self.progress.step < end:
                self._save(self._judged())
            if self.parts.objective.is_done():
                break
            began = time.monotonic()

    def _validate(self, validation: Validation) -> dict[str, float]:
        average_statistics(self.parts.model)
        judged = judge(Roc.of(*predict(self.parts.model, validation.reader, self.parts.device)))
        return {"auc": judged.auc, "logloss": judged.logloss, "ne": judged.ne}

    def _cut(self) -> float:
        validation = self.parts.validation
        return 1.0 if validation is None else validation.rules.factor(self.progress.validations)

    def _save(self, figures: dict[str, float]) -> None:
        average_statistics(self.parts.model)
        self.progress.seconds = self.earlier_seconds + time.monotonic() - self._made
        self.checkpointer.save(self.state, self.progress.step, figures)
        self._since_save = RunningLoss()

    def _steps(self, end: int) -> Iterator[Step]:
        """One training step after the other, each with its batch and its log loss and click rate over all ranks, `[2]`."""
        parts = self.parts
        if parts.objective.is_done():  # killed after its last step, before its result
            return iter(())
        if parts.overlap:
            return overlapped_steps(parts.model, self._forward, self._optimizer, parts.device, self._batches(end))
        return plain_steps(self._forward, self._optimizer, parts.device, self._batches(end))

    def _batches(self, end: int) -> Iterator[Batch]:
        """The reader's batches, looked at before they leave the host; where the reader stands after each is kept for checkpoints."""
        for batch in self._awaited(self.parts.reader.until(end)):
            if not self._reader_states:
                check_features(batch.sparse, list(self._table_rows))
            check_ids(batch.sparse, self._table_rows)
            self._reader_states[batch.index] = self.parts.reader.state_dict()
            yield batch

    def _awaited(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, and the time that is spent waiting for them."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            if self._telemetry is not None:
                self._telemetry.window.waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def _before_update(self) -> None:
        self.parts.objective.before_update(self.progress.step)
        if self._telemetry is not None and self._telemetry.wants_gradients:
            self._telemetry.window.gradient_norms = gradient_norms(self.parts.optimizers)

    def _forward(self, batch: Batch) -> tuple[Tensor, Step]:
        logits = self.parts.model(batch)
        log_loss = F.binary_cross_entropy_with_logits(logits, batch.labels)
        if self._telemetry is not None and self._telemetry.active:
            self._telemetry.progressive.add(logits, batch.labels)
        penalty = self.parts.objective.penalty()
        figures = torch.stack([log_loss.detach(), batch.labels.mean()])
        return (log_loss if penalty is None else log_loss + penalty), (batch, figures)

    def _remember(self, batch: Batch, figures: Tensor, telemetry: Telemetry) -> None:
        loss, click_rate = _mean_over_ranks(figures).tolist()
        if not math.isfinite(loss):
            raise Diverged(
                f"step {self.progress.step + 1}: the training loss is not finite; lower learning_rate of the job and of [embedding], "
                "or set clip_norm"
            )
        self.state.reader_state = self._reader_states.pop(batch.index)
        self.progress.step += 1
        self.progress.add(batch.step_rows, loss, click_rate)
        self._since_save.add(batch.step_rows, loss, click_rate)
        telemetry.window.add(batch.step_rows, loss, click_rate)
        if telemetry.due:
            self._report(telemetry)

    def _judged(self) -> dict[str, float]:
        """Loss over the rows seen since the last checkpoint, each scored before it was learnt from: what the best is chosen by."""
        if not self._since_save.rows:
            return {}
        ne = self._since_save.mean_ne
        return {"loss": self._since_save.mean_loss} | ({} if ne is None else {"ne": ne})

    def _report(self, telemetry: Telemetry) -> None:
        if telemetry.window.rows:
            loss, ne = telemetry.window.mean_loss, telemetry.window.mean_ne
            self.progress.curve.append({"rows": self.progress.rows, "loss": loss, "ne": ne})
            figures = {"loss": loss} if ne is None else {"loss": loss, "ne": ne}
            rates = {f"learning_rate/{name}": rate for name, rate in self._optimizer.rates().items()}
            telemetry.record(self.progress.step, self.progress.rows, figures, {**rates, **self.parts.objective.figures()})


def predict(model: nn.Module, reader: ShardReader, device: torch.device) -> tuple[Tensor, Tensor]:
    """Click probabilities and labels `[R]` of all rows of `reader`, gathered on every rank."""
    model.eval()
    probabilities, labels = [], []
    with torch.no_grad():
        for batch in reader:
            logits = model(batch.to(device))
            probabilities.append(torch.sigmoid(logits[: batch.valid]).cpu())
            labels.append(batch.labels[: batch.valid])
    return gather_rows(torch.cat(probabilities)), gather_rows(torch.cat(labels))


def average_statistics(model: nn.Module) -> None:
    """Give all ranks the mean of their running statistics: batch normalisation gathers them rank by rank."""
    if dist.get_world_size() == 1:
        return
    for module in model.modules():
        if isinstance(module, BatchNorm | nn.BatchNorm1d):
            for buffer in module.buffers(recurse=False):
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= dist.get_world_size()


def _mean_over_ranks(values: Tensor) -> Tensor:
    if dist.get_world_size() > 1:
        dist.all_reduce(values)
        values = values / dist.get_world_size()
    return values
