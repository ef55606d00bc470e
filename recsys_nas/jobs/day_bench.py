"""Where a day's proposals are judged: on rows of that day, networks trained alone, or with the weights of a supernet.

The last rows of the day are for validation, and never trained on. Every network alone sees the same rows in the same order
from the same seed, so that two trials differ by their networks only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recsys_nas.config import ConfigError
from recsys_nas.jobs.assembly import Recipe, Run, assemble
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.frozen_supernet import FrozenRows, FrozenSupernet, check_finite, figures_of
from recsys_nas.model import InteractionArch
from recsys_nas.sampled_supernet import PathOptimizer, Rewarded, SampledSupernet
from recsys_nas.search.strategy import Proposal, SupernetTraining, TrialFailed
from recsys_nas.training.ctr_model import CtrModel, SupernetModel
from recsys_nas.training.metrics import judge
from recsys_nas.training.optimizers import adam
from recsys_nas.training.reader import ShardReader
from recsys_nas.training.roc import Roc
from recsys_nas.training.telemetry import StepWindows, Telemetry
from recsys_nas.training.trainer import Diverged, LogLoss, Trainer, predict

CURVE_POINTS = 8
# SiGeo's.
SCORING_BATCHES = 4


@dataclass(frozen=True)
class Split:
    """The rows of a day: `train` comes before `validation`."""

    train: tuple[int, int]
    validation: tuple[int, int]

    @staticmethod
    def of(run: Run, day: int) -> Split:
        """Raises ConfigError when too few rows are left to train on."""
        trials, batch = run.config.trials, run.config.search.batch_size
        rows = run.manifest.day(day).rows
        held_out = min(math.ceil(rows * trials.validation_share), trials.validation_rows)
        first = rows - held_out
        if first < batch:
            raise ConfigError(f"day {day} has {rows} rows, {held_out} of them for validation: fewer than one batch of {batch} is left")
        return Split((0, first), (first, rows))


class DayBench:
    """The workbench of one day. Raises ConfigError when the day is too short."""

    def __init__(self, run: Run, day: int, ranks: Ranks, folder: Path) -> None:
        self.run = run
        self.day = day
        self.ranks = ranks
        self.folder = folder
        self.split = Split.of(run, day)
        self._frozen: FrozenSupernet | None = None

    def judge(self, proposal: Proposal) -> Mapping[str, float]:
        """Figures of the validation rows, as `Workbench.judge` says."""
        with failing_for_lack_of_memory():
            if proposal.fidelity == "trained":
                return self._train_alone(proposal)
            assert self._frozen is not None, "a supernet is trained first"
            frozen = self._frozen
            return frozen.score(proposal.architecture) if proposal.fidelity == "scored" else frozen.judge(proposal.architecture)

    def train_supernet(self, training: SupernetTraining) -> float:
        """Train from the newest checkpoint in `<folder>/supernet`, if at all, then put the tables to rest."""
        config, folder = self.run.config, self.folder / "supernet"
        reader = self.training_reader(training.rows)
        torch.manual_seed(config.seed)
        network = SampledSupernet(self.run.space(), training, len(reader))
        recipe = Recipe(network, SupernetModel, self._supernet_optimizers, Rewarded(network), config.search)
        trainer = assemble(self.run, recipe, reader, self.ranks, config.seed, folder)
        seconds = 0.0
        if training.rows:
            telemetry = Telemetry(folder, reader.total_rows, trainer.progress.step, active=self.ranks.is_first)
            seconds = trainer.train(telemetry).train_seconds
            telemetry.close()
        self._frozen = self._freeze(trainer, network)
        return self.ranks.of_first(seconds)

    def _supernet_optimizers(self, network: nn.Module) -> dict[str, Any]:
        assert isinstance(network, SampledSupernet)
        search, trials = self.run.config.search, self.run.config.trials
        optimizers: dict[str, Any] = {"weights": PathOptimizer(network, trials.supernet_learning_rate, trials.supernet_eps)}
        if network.baseline is not None:
            optimizers["baseline"] = adam(network.baseline.parameters(), search.learning_rate, eps=search.eps)
        return optimizers

    def _freeze(self, trainer: Trainer, network: SampledSupernet) -> FrozenSupernet:
        model, device, tuning_rows = trainer.parts.model.eval().module, self.ranks.device, self.run.config.trials.finetune_rows
        assert isinstance(model, CtrModel)
        batch = self.run.config.search.batch_size
        validation = FrozenRows.of(model, self.validation_reader(), device)
        tuning = FrozenRows.of(model, self.training_reader(tuning_rows), device).over_ranks() if tuning_rows else None
        scoring = FrozenRows.of(model, self.training_reader(SCORING_BATCHES * batch), device).over_ranks()
        return FrozenSupernet(network.supernet, validation, tuning, tuple(scoring.chunks(batch)))

    def training_reader(self, rows: int) -> ShardReader:
        """Batches of about `rows` training rows, from as many passes as that takes, the same each time."""
        first, end = self.split.train
        batch = self.run.config.search.batch_size
        steps, per_pass = max(1, rows // batch), (end - first) // batch
        seed = self.run.config.seed * 1000 + self.day
        return self.run.reader([self.day], self.ranks, batch, seed, -(-steps // per_pass), rows=(first, end), max_steps=steps)

    def validation_reader(self) -> ShardReader:
        return self.run.reader([self.day], self.ranks, self.run.config.search.batch_size, None, rows=self.split.validation)

    def _train_alone(self, proposal: Proposal) -> Mapping[str, float]:
        config = self.run.config
        reader = self.training_reader(proposal.rows)
        torch.manual_seed(config.seed)
        network = InteractionArch(proposal.architecture)
        trainer = assemble(self._with_settings(proposal), self._recipe(proposal, network), reader, self.ranks, config.seed, None)
        try:
            progress = trainer.train(StepWindows(reader.total_rows // CURVE_POINTS))
        except Diverged as error:
            raise TrialFailed(str(error).partition(";")[0]) from error
        curve = [point["ne"] for point in progress.curve if point["ne"] is not None]
        figures = self._validate(trainer) | {"slope": slope(curve), "seconds": progress.train_seconds}
        return figures if progress.mean_ne is None else figures | {"train_ne": progress.mean_ne}

    def _validate(self, trainer: Trainer) -> dict[str, float]:
        predicted, labels = predict(trainer.parts.model, self.validation_reader(), self.ranks.device)
        check_finite(predicted)
        return figures_of(judge(Roc.of(predicted, labels)))

    def _with_settings(self, proposal: Proposal) -> Run:
        """The run with the scale that the proposal initialises its tables by."""
        scale = proposal.settings.init_scale
        if scale is None:
            return self.run
        embedding = replace(self.run.config.embedding, init_scale=scale)
        return replace(self.run, config=replace(self.run.config, embedding=embedding))

    def _recipe(self, proposal: Proposal, network: nn.Module) -> Recipe:
        search = self.run.config.search
        rate = proposal.settings.learning_rate or search.learning_rate

        def optimizers(network: nn.Module) -> dict[str, torch.optim.Optimizer]:
            return {"weights": adam(network.parameters(), rate, eps=search.eps, weight_decay=search.weight_decay)}

        return Recipe(network, CtrModel, optimizers, LogLoss(), search)


def slope(curve: list[float]) -> float:
    """By how much the progressive NE falls from the third to the last quarter of a training: negative where it still improves."""
    quarter = max(1, len(curve) // 4)
    if len(curve) < 2:
        return 0.0
    last, before = curve[-quarter:], curve[-2 * quarter : -quarter]
    return sum(last) / len(last) - sum(before) / len(before)


@contextmanager
def failing_for_lack_of_memory() -> Iterator[None]:
    """A network that does not fit is a failed trial; every other error is one of the program, and passes through."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrialFailed(f"out of memory: {error}") from error
    except RuntimeError as error:
        # As torch's allocator on the CPU says it.
        if "allocate memory" not in str(error):
            raise
        raise TrialFailed(f"out of memory: {str(error).splitlines()[0]}") from error
