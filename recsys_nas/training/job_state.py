"""What a training job must remember to go on after a kill, as a checkpoint sees it (`recsys_nas.training.checkpoint`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from embeddings.plan import Plan
from recsys_nas.config import ConfigError
from recsys_nas.training.checkpoint import RANDOM_STATE
from recsys_nas.training.metrics import RunningLoss
from recsys_nas.training.optimizers import JobOptimizer
from recsys_nas.training.reader import ShardReader


@dataclass
class Progress(RunningLoss):
    """All that the loop remembers, with the loss over all rows seen; it goes into the checkpoint with the rest."""

    step: int = 0
    train_seconds: float = 0.0
    seconds: float = 0.0
    """On the clock, of all attempts up to the newest checkpoint, from when each was put together."""
    curve: list[dict[str, float | None]] = field(default_factory=list)
    """Of each window `rows` so far, mean `loss` and `ne`, None in a window of one class."""
    validations: list[dict[str, float]] = field(default_factory=list)
    """Figures on the validation days after each epoch, with the step."""


class JobState:
    """Weights, tables, the state of every optimizer, the reader's place, random states and progress of one job.

    `reader_state` is that of the last batch trained on: a pipeline has drawn further batches from the reader already.
    """

    def __init__(self, model: torch.nn.Module, plan: Plan, optimizer: JobOptimizer, reader: ShardReader) -> None:
        self.model = model
        self.plan = plan
        self.optimizer = optimizer
        self.reader = reader
        self.reader_state = reader.state_dict()
        self.progress = Progress()

    def tensors(self) -> dict[str, Any]:
        """Everything that training changes, by name; loading fills these in place."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        return tensors | self.optimizer.tensors(names) | _random_states()

    def values(self) -> dict[str, Any]:
        """The rest of the state, as plain values, with the tables and the plan that the tensors are of."""
        return {"progress": asdict(self.progress), "reader": self.reader_state, "tables": self._tables(), "plan": self.plan.to_json()}

    def check(self, values: Mapping[str, Any], where: str) -> None:
        """Raise ConfigError unless the checkpoint is of a job over the same tables; plan and world size may be others."""
        saved = {name: tuple(size) for name, size in values["tables"].items()}
        here = {name: tuple(size) for name, size in self._tables().items()}
        if set(saved) != set(here):
            other = min(set(saved) ^ set(here))
            whose = "it has" if other in saved else "this job has"
            raise ConfigError(f"{where} is of another schema: only {whose} a table {other}; give the run another name, or remove it")
        for name, size in here.items():
            if saved[name] != size:
                (rows, dim), (rows_here, dim_here) = saved[name], size
                text = f"{name} has {rows} rows x {dim} there and {rows_here} x {dim_here} here"
                todo = "set embedding.max_rows, search.max_rows and embedding.dim as they were, or remove it"
                raise ConfigError(f"{where} is of tables of another size: {text}; {todo}")

    def restored(self, values: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        """Take over the plain values, once the tensors are filled. Raises ConfigError when the reader's batches are others."""
        self.progress = Progress(**values["progress"])
        self.reader_state = dict(values["reader"])
        try:
            self.reader.load_state_dict(self.reader_state)
        except ValueError as error:
            raise ConfigError(f"the checkpoint cannot be gone on with: {error}") from error
        _set_random_states(tensors)

    def _tables(self) -> dict[str, list[int]]:
        return {table.name: [table.rows, table.dim] for table in self.plan.tables}


def _random_states() -> dict[str, Tensor]:
    rank = dist.get_rank()
    states = {f"{RANDOM_STATE}cpu.{rank}": torch.get_rng_state()}
    if torch.cuda.is_available():
        states[f"{RANDOM_STATE}cuda.{rank}"] = torch.cuda.get_rng_state()
    return states


def _set_random_states(tensors: Mapping[str, Tensor]) -> None:
    for name, state in tensors.items():
        if name.startswith(f"{RANDOM_STATE}cpu."):
            torch.set_rng_state(state)
        elif name.startswith(f"{RANDOM_STATE}cuda."):
            torch.cuda.set_rng_state(state)
