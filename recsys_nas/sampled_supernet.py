"""A supernet as the trainer sees it: in every step another path is trained, and beside it, if wanted, a baseline for its reward."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from recsys_nas.model import InteractionArch
from recsys_nas.path_training import Path, PathAdagrad
from recsys_nas.search.strategy import SupernetTraining
from recsys_nas.space import SearchSpace
from recsys_nas.supernet import Supernet


class SampledSupernet(nn.Module):
    """Runs the path that the sampler names for a step. `steps`: of the whole training.

    The baseline is a network of its own that shares the tables only: its weights and the supernet's do not pull at each other.
    """

    def __init__(self, space: SearchSpace, training: SupernetTraining, steps: int) -> None:
        super().__init__()
        self.supernet = Supernet(space.full())
        # A sampler that learns is saved with the weights.
        self.sampler = training.sampler
        self.baseline = InteractionArch(training.baseline) if training.baseline is not None else None
        self.steps = steps
        self.current: Path | None = None
        self.losses: tuple[Tensor, Tensor | None] | None = None

    def forward(self, dense: Tensor, tokens: Tensor, labels: Tensor, step: int) -> Tensor:
        """`[B, I]`, `[B, N, D]` and labels `[B]` -> logits `[B]` of the step's path."""
        self.current = Path(self.supernet, self.sampler.path(step, self.steps))
        logits = self.current(dense, tokens)
        of_path = F.binary_cross_entropy_with_logits(logits.detach(), labels)
        of_baseline = None if self.baseline is None else F.binary_cross_entropy_with_logits(self.baseline(dense, tokens), labels)
        self.losses = (of_path, of_baseline)
        return logits


class Rewarded:
    """The objective of a supernet's training: it trains the baseline too, and tells the sampler what each path was worth."""

    def __init__(self, network: SampledSupernet) -> None:
        self.network = network
        self.last_reward = 0.0

    def penalty(self) -> Tensor | None:
        assert self.network.losses is not None
        return self.network.losses[1]

    def before_update(self, step: int) -> None:
        self.last_reward = self._reward()
        self.network.sampler.learn(step, self.last_reward)

    def is_done(self) -> bool:
        return False

    def figures(self) -> dict[str, float]:
        return {"search/reward": self.last_reward}

    def _reward(self) -> float:
        """Over all ranks: the loss of the path, negated, or how much lower it is than the baseline's, as a share of that."""
        assert self.network.losses is not None
        path, baseline = self.network.losses
        losses = torch.stack([path, torch.zeros_like(path) if baseline is None else baseline.detach()])
        if dist.get_world_size() > 1:
            dist.all_reduce(losses)
            losses /= dist.get_world_size()
        of_path, of_baseline = losses.tolist()
        return -of_path if baseline is None else (of_baseline - of_path) / of_baseline


class PathOptimizer:
    """`PathAdagrad` in the form that `JobOptimizer` steps, averages over ranks and saves: its parameters are those of the last path."""

    def __init__(self, network: SampledSupernet, learning_rate: float, epsilon: float) -> None:
        self.network = network
        self.adagrad = PathAdagrad(network.supernet, learning_rate, epsilon)
        self._group: dict[str, Any] = {"params": [], "lr": learning_rate}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        self._group["params"] = self.network.current.parameters() if self.network.current is not None else []
        return [self._group]

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        return {parameter: {"sum": squares} for parameter, squares in self.adagrad.sums.items()}

    def zero_grad(self) -> None:
        self.network.current = None

    def step(self) -> None:
        assert self.network.current is not None
        self.adagrad.learning_rate = self._group["lr"]
        self.adagrad.step(self.network.current)
