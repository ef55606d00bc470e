"""Which path through a supernet is trained in a step: NASRec's sampling, the uniform one, and a policy that learns from rewards."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from recsys_nas.search.choices import Choices
from recsys_nas.space import Architecture, Block, SearchSpace
from recsys_nas.space.genes import Genes

SOURCE_PROBABILITY = 0.5


class SampledPaths:
    """Paths drawn from (seed, step) alone. During the first `full_share` of the training, the full network is trained instead
    with a probability that falls from 1 to 0 (NASRec's warm-up).

    `single`: NASRec's single-operator any-connection sampling (Zhang et al., 2023, section 3.2): one module a stream, and
    1 + Binomial(min(n - 1, 3), 1/2) of the n outputs that may be read; else members of the space, uniformly.
    """

    def __init__(self, space: SearchSpace, seed: int, full_share: float, single: bool) -> None:
        self.space, self.seed, self.full_share, self.single = space, seed, full_share, single

    def path(self, step: int, steps: int) -> Architecture:
        generator = Random(f"path {self.seed} {step}")
        warm_up = self.full_share * steps
        if step < warm_up and generator.random() < 1 - step / warm_up:
            return self.space.full()
        return single_operator_path(self.space, generator) if self.single else self.space.sample(generator)

    def learn(self, step: int, reward: float) -> None: ...


def single_operator_path(space: SearchSpace, generator: Random) -> Architecture:
    """A network of one module a stream and block, reading a few of the outputs before it where the space leaves that open."""
    return space.of_blocks([_single_block(space, number, generator) for number in range(1, space.rules.num_blocks + 1)])


def _single_block(space: SearchSpace, number: int, generator: Random) -> Block:
    rules = space.rules
    dense = (generator.choice(rules.dense_modules),) if rules.dense_modules else ()
    sparse = (generator.choice(rules.sparse_modules),) if rules.sparse_modules else ()
    open_ones = rules.open_sources(number)

    def sources() -> tuple[int, ...]:
        if rules.connect != "any":
            return open_ones
        more = sum(generator.random() < SOURCE_PROBABILITY for _ in range(min(number - 1, rules.max_sources - 1)))
        return tuple(sorted(generator.sample(open_ones, 1 + more)))

    def one() -> tuple[int, ...]:
        return (generator.choice(open_ones),) if rules.connect == "any" else open_ones

    merge = bool(rules.merger_tokens)
    return Genes(
        dense,
        sparse,
        generator.choice(rules.dense_widths),
        generator.choice(rules.token_counts),
        sources(),
        sources(),
        one(),
        one(),
        merge and generator.random() < 0.5,
        rules.merger_tokens * generator.randrange(2) if merge else 0,
    ).block()


class Policy(nn.Module):
    """Independent categorical distributions over the choices of a space. Its logits `[choices, options]` move by REINFORCE
    (Williams, 1992): each by rate * advantage * (chosen - probability); options that a choice lacks have probability 0."""

    logits: Tensor

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.choices = Choices(space)
        sizes = torch.tensor([choice.size for choice in self.choices.all])
        absent = torch.arange(int(sizes.max())).unsqueeze(0) >= sizes.unsqueeze(1)
        self.register_buffer("logits", torch.zeros(absent.shape).masked_fill(absent, -math.inf))

    def probabilities(self, temperature: float = 1.0) -> Tensor:
        return torch.softmax(self.logits / temperature, dim=1)

    def draw(self, generator: np.random.Generator) -> tuple[Tensor, Architecture]:
        """Options `[choices]` and the member that they make; draws again where that is no network."""
        bounds = self.probabilities().double().cumsum(1).numpy()
        while True:
            values = (generator.random((len(bounds), 1)) * bounds[:, -1:] >= bounds).sum(1)
            if (architecture := self.choices.decode(values.tolist())) is not None:
                return torch.from_numpy(values), architecture

    def reinforce(self, values: Tensor, advantages: Tensor, rate: float, temperature: float = 1.0) -> None:
        """One step of REINFORCE over options `[N, choices]`, drawn at that temperature, with advantages `[N]`, averaged."""
        chosen = nn.functional.one_hot(values, self.logits.shape[1]).float()
        gradient = (advantages.view(-1, 1, 1) * (chosen - self.probabilities(temperature))).mean(0)
        self.logits += rate * gradient

    def reinforce_encoded(self, encodings: Tensor, advantages: Tensor, rate: float) -> None:
        """The same over encodings `[N, width]` (`Choices.encode`): a choice without effect moves nothing."""
        chosen = self._by_choice(encodings)
        moved = chosen - self.probabilities() * chosen.sum(2, keepdim=True)
        self.logits += rate * (advantages.view(-1, 1, 1) * moved).mean(0)

    def log_probabilities(self) -> Tensor:
        return torch.log_softmax(self.logits, dim=1)

    def log_likelihood(self, encodings: Tensor, log_probabilities: Tensor | None = None) -> Tensor:
        """Of the choices with effect in encodings `[N, width]`, by this policy or an earlier one's: `[N]`."""
        log_p = self.log_probabilities() if log_probabilities is None else log_probabilities
        return (self._by_choice(encodings) * log_p.nan_to_num(neginf=0.0)).sum((1, 2))

    def _by_choice(self, encodings: Tensor) -> Tensor:
        """`[N, width]` -> `[N, choices, options]`."""
        spread = torch.zeros(len(encodings), *self.logits.shape)
        spread[:, torch.isfinite(self.logits)] = encodings
        return spread


class LearntPaths(nn.Module):
    """Rankitect's one-shot (Wen et al., 2023): a policy samples each step's path, and learns at once from its reward on the
    step's batch. The advantage is the reward minus its running mean, in running standard deviations; paths of the first
    `rest_share` of the training teach nothing, since no weights are trained yet.

    All that it learns is in buffers, so that it is saved with the weights; they stay in the host's memory, where paths are drawn.
    """

    RATE = 0.05
    MEMORY = 0.98
    moments: Tensor

    def __init__(self, space: SearchSpace, seed: int, rest_share: float) -> None:
        super().__init__()
        self.policy = Policy(space)
        self.seed, self.rest_share = seed, rest_share
        self.register_buffer("moments", torch.zeros(3, dtype=torch.float64))  # weight, mean and mean square of rewards
        self._last: tuple[int, Tensor] | None = None
        self._steps = 1

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        return self

    def path(self, step: int, steps: int) -> Architecture:
        values, architecture = self.policy.draw(np.random.Generator(np.random.Philox([self.seed, step])))
        self._last, self._steps = (step, values), steps
        return architecture

    def learn(self, step: int, reward: float) -> None:
        assert self._last is not None
        assert self._last[0] == step
        weight, mean, square = self.moments.tolist()
        if step >= self.rest_share * self._steps and weight > 0:
            deviation = math.sqrt(max(square / weight - (mean / weight) ** 2, 1e-12))
            advantage = max(-3.0, min(3.0, (reward - mean / weight) / deviation))
            self.policy.reinforce(self._last[1].unsqueeze(0), torch.tensor([advantage]), self.RATE)
        self.moments.mul_(self.MEMORY).add_(torch.tensor([1.0, reward, reward**2], dtype=torch.float64))
