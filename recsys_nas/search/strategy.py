"""What every search strategy is, and what it is given: one small contract, kept by `tests/recsys_nas/search/test_contract.py`.

A strategy only decides which network is judged next, and how; what a judgement is (a short training, a supernet's loss, a score
without training) is the business of the `Workbench` that it is run with (`recsys_nas.search.loop`). So it has no state but what
follows from its task and the trials told to it: a search is resumed by telling it the same trials again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Literal, Protocol

from recsys_nas.space import Architecture, SearchSpace

LOSS = "loss"
"""The figure that trials are compared by: log loss on the validation rows, lower is better."""

# Draws for one network that fits and is new. A space with few of these is nearly used up.
MAX_DRAWS = 1000

Fidelity = Literal["trained", "shared", "scored"]
"""How a network is judged: trained alone on some rows; with the weights of a supernet; by proxies, without training."""


class SearchError(ValueError):
    """A search that cannot end in an architecture; its text is one line saying why and what to change."""


class NothingFits(SearchError):
    """No network of the space was found that costs little enough."""


class TrialFailed(Exception):
    """A network that could not be judged: out of memory, or a loss that is no number. The search goes on without it."""


@dataclass(frozen=True)
class Budget:
    """Rows of training (rows that weights are updated on) and seconds of work; a search ends when either is used up."""

    rows: int
    seconds: float = math.inf


@dataclass(frozen=True)
class Task:
    """What is searched: a space, under a budget, for networks of at most `max_flops` (0: any) FLOPs by `price`."""

    space: SearchSpace
    budget: Budget
    seed: int
    price: Callable[[Architecture], int]
    max_flops: int = 0


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained, where that is searched too; None: as the config says."""

    learning_rate: float | None = None
    init_scale: float | None = None


@dataclass(frozen=True)
class Proposal:
    """A network to judge. `rows`: of training, 0 where nothing is trained."""

    architecture: Architecture
    fidelity: Fidelity = "trained"
    rows: int = 0
    settings: TrainingSettings = field(default_factory=TrainingSettings)


@dataclass(frozen=True)
class Trial:
    """A proposal, judged. `figures` by name, LOSS among them unless it `failed`, which then says why."""

    proposal: Proposal
    figures: Mapping[str, float]
    seconds: float
    failed: str = ""

    @property
    def architecture(self) -> Architecture:
        return self.proposal.architecture

    @property
    def rows(self) -> int:
        return self.proposal.rows

    @property
    def loss(self) -> float:
        """Infinite for a trial that failed."""
        return math.inf if self.failed else self.figures[LOSS]

    def to_json(self) -> dict[str, Any]:
        stored = asdict(self.proposal) | {"architecture": self.architecture.to_json()}
        return {"key": self.architecture.key(), **stored, "figures": dict(self.figures), "seconds": self.seconds, "failed": self.failed}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Trial:
        """Raises ValueError, KeyError or TypeError for anything else than what `to_json` gives."""
        architecture = Architecture.from_json(value["architecture"])
        proposal = Proposal(architecture, value["fidelity"], value["rows"], TrainingSettings(**value["settings"]))
        return Trial(proposal, dict(value["figures"]), value["seconds"], value["failed"])


def loss_of(trial: Trial) -> float:
    return trial.loss


Value = Callable[[Trial], float]
"""What trials are compared by; the lower the better."""


class PathSampler(Protocol):
    """Which path through a supernet is trained in a step. One that is an `nn.Module` has its state saved with the weights."""

    def path(self, step: int, steps: int) -> Architecture:
        """The path of `step` (from 0) of `steps`; the same on every rank and after a resume."""
        ...

    def learn(self, step: int, reward: float) -> None:
        """What became of that step's path: see `SupernetTraining`."""
        ...


@dataclass(frozen=True)
class SupernetTraining:
    """A supernet to train on `rows` rows before anything is judged.

    The reward of a step's path is its loss on that step's batch, negated; with `baseline`, a network that is trained in place
    beside the paths on the same batches, it is (loss of the baseline - loss of the path) / loss of the baseline, so that what
    makes a batch hard cancels out.
    """

    rows: int
    sampler: PathSampler
    baseline: Architecture | None = None


class Strategy(Protocol):
    """Proposes, is told, and chooses. The same task and the same trials give the same proposals, in any process."""

    def supernet(self) -> SupernetTraining | None:
        """What to train before the first proposal, if anything."""
        ...

    def ask(self) -> Proposal | None:
        """What to judge next; None when the strategy has seen enough. Raises NothingFits. Asked once for each trial told."""
        ...

    def tell(self, trial: Trial) -> None:
        """The outcome of what was asked last."""
        ...

    def value(self, trial: Trial) -> float:
        """What this strategy compares trials of one fidelity by; the lower the better."""
        ...

    def choose(self) -> Architecture:
        """The best network found. Raises SearchError when every trial failed."""
        ...

    def summary(self) -> Mapping[str, float]:
        """What the strategy measured of itself, by name, for the day's record."""
        ...


class Workbench(Protocol):
    """Where proposals are judged, on one day's data."""

    def train_supernet(self, training: SupernetTraining) -> float:
        """Train the shared weights; after a kill, from where that left off. Returns all seconds that it took."""
        ...

    def judge(self, proposal: Proposal) -> Mapping[str, float]:
        """Figures by name, LOSS among them. Raises TrialFailed when this network cannot be judged."""
        ...


class Candidates:
    """Hands out networks that fit the task and were not handed out before; equal networks (`Architecture.key`) count as one."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.generator = Random(f"candidates {task.seed}")
        self._seen: set[str] = set()

    def fits(self, architecture: Architecture) -> bool:
        return not self.task.max_flops or self.task.price(architecture) <= self.task.max_flops

    def fresh(self, draw: Callable[[], Architecture] | None = None) -> Architecture | None:
        """A new network by `draw` (default: uniformly from the space); None when `MAX_DRAWS` draws gave no new one.

        Raises NothingFits when of the whole space none was ever cheap enough; a `draw` that knows a part of it only gives None then.
        """
        cheapest = math.inf
        for _ in range(MAX_DRAWS):
            drawn = draw() if draw else self.task.space.sample(self.generator)
            if not self.fits(drawn):
                cheapest = min(cheapest, self.task.price(drawn))
            elif (key := drawn.key()) not in self._seen:
                self._seen.add(key)
                return drawn
        if self._seen or draw:
            return None
        raise NothingFits(
            f"no network of at most {self.task.max_flops:,} FLOPs in {MAX_DRAWS} draws, the cheapest has {cheapest:,}: "
            "raise trials.max_flops, or give the space smaller widths"
        )


def best(trials: Sequence[Trial], value: Value = loss_of) -> Trial:
    """The trial of the lowest value, the earlier of equals. Raises SearchError when there is none that succeeded."""
    done = [trial for trial in trials if not trial.failed]
    if not done:
        reasons = [trial.failed for trial in trials] or ["the budget pays for none; raise trials.rows or lower trials.rows_per_trial"]
        raise SearchError(f"no network could be judged: {reasons[0]}")
    return min(done, key=value)
