"""The one training loop: of the supernet under search, of derived networks and of the models they are compared with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torchrec.distributed import DistributedModelParallel

from recsys_nas.training.checkpoint import Checkpointer
from recsys_nas.training.metrics import RunningLoss, gather_rows
from recsys_nas.training.optimizers import average_gradients, state_by_name
from recsys_nas.training.reader import Batch, ShardReader
from recsys_nas.training.telemetry import Telemetry


class Objective(Protocol):
    """What a job adds to the plain log loss, and what it says of itself."""

    def penalty(self) -> Tensor | None:
        """A term added to the loss, or None."""
        ...

    def before_update(self, step: int) -> None:
        """Called between the backward pass and the optimizers' steps."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Scalars for TensorBoard, by tag."""
        ...


class LogLoss:
    """The plain objective: log loss and nothing else."""

    def penalty(self) -> Tensor | None:
        return None

    def before_update(self, step: int) -> None: ...

    def figures(self) -> Mapping[str, float]:
        return {}


@dataclass
class Progress(RunningLoss):
    """All that the loop remembers, with the loss over all rows seen; it goes into the checkpoint with the rest."""

    step: int = 0
    train_seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Parts:
    """What a trainer is put together from. `optimizers` are those of the dense half, by name; the tables' are fused."""

    model: DistributedModelParallel
    optimizers: Mapping[str, torch.optim.Optimizer]
    objective: Objective
    reader: ShardReader
    device: torch.device
    decay: bool


class Trainer:
    """Trains one model over one reader, once, from its newest checkpoint."""

    def __init__(self, parts: Parts, checkpointer: Checkpointer) -> None:
        self.parts = parts
        self.checkpointer = checkpointer
        self.progress = Progress()
        # All optimizers with the rates they start from, the tables' fused one with them.
        optimizers = [*parts.optimizers.values(), parts.model.fused_optimizer]
        self._rates = [(optimizer, [group["lr"] for group in optimizer.param_groups]) for optimizer in optimizers]

    def train(self, telemetry: Telemetry) -> Progress:
        """Train to the end of the reader; every rank takes part."""
        self.parts.model.train()
        began = time.monotonic()
        for batch in self.parts.reader:
            loss = self._step(batch.to(self.parts.device))
            self._remember(batch, loss, telemetry)
            self.progress.train_seconds += time.monotonic() - began
            self.checkpointer.maybe_save(self, self.progress.step)
            began = time.monotonic()
        self._report(telemetry)
        self.checkpointer.save(self, self.progress.step)
        return self.progress

    def _step(self, batch: Batch) -> Tensor:
        """One step of all optimizers; returns its log loss and click rate over all ranks, `[2]`."""
        self._schedule()
        for optimizer, _ in self._rates:
            optimizer.zero_grad()
        log_loss = F.binary_cross_entropy_with_logits(self.parts.model(batch), batch.labels)
        penalty = self.parts.objective.penalty()
        (log_loss if penalty is None else log_loss + penalty).backward()
        average_gradients(self.parts.optimizers.values())
        self.parts.objective.before_update(self.progress.step)
        for optimizer, _ in self._rates:
            optimizer.step()
        return _mean_over_ranks(torch.stack([log_loss.detach(), batch.labels.mean()]))

    def _schedule(self) -> None:
        """Rates fall in a straight line to zero over the run, where the config says so."""
        share_left = 1 - self.progress.step / len(self.parts.reader) if self.parts.decay else 1.0
        for optimizer, rates in self._rates:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share_left

    def _remember(self, batch: Batch, figures: Tensor, telemetry: Telemetry) -> None:
        loss, click_rate = figures.tolist()
        self.progress.step += 1
        self.progress.add(batch.step_rows, loss, click_rate)
        telemetry.window.add(batch.step_rows, loss, click_rate)
        if telemetry.due:
            self._report(telemetry)

    def _report(self, telemetry: Telemetry) -> None:
        if telemetry.window.rows:
            figures = {"loss": telemetry.window.mean_loss, "ne": telemetry.window.mean_ne}
            self.progress.curve.append({"rows": self.progress.rows, "loss": figures["loss"], "ne": figures["ne"]})
            telemetry.record(self.progress.step, self.progress.rows, figures)
            telemetry.scalars(self.progress.step, self.parts.objective.figures())

    def tensors(self) -> dict[str, Any]:
        """Everything that training changes, by name: weights, tables, and the state of every optimizer."""
        model = self.parts.model
        names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        for parameter, state in model.fused_optimizer.state_dict()["state"].items():
            tensors |= {f"fused.{parameter}.{name}": value for name, value in state.items()}
        for kind, optimizer in self.parts.optimizers.items():
            tensors |= {f"{kind}.{name}": value for name, value in state_by_name(optimizer, names).items()}
        return tensors

    def values(self) -> dict[str, Any]:
        """The rest of the state, as plain values."""
        return {"progress": asdict(self.progress), "reader": self.parts.reader.state_dict()}

    def load_values(self, values: dict[str, Any]) -> None:
        self.progress = Progress(**values["progress"])
        self.parts.reader.load_state_dict(values["reader"])


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


def _mean_over_ranks(values: Tensor) -> Tensor:
    if dist.get_world_size() > 1:
        dist.all_reduce(values)
        values = values / dist.get_world_size()
    return values
