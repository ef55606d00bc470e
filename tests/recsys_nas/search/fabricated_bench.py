"""A workbench without data: the loss of a network is a fixed function of its choices, so strategies can be judged in moments."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys_nas.cost import dense_flops
from recsys_nas.search.choices import Choices
from recsys_nas.search.journal import Journal
from recsys_nas.search.loop import Search
from recsys_nas.search.strategies import STRATEGIES
from recsys_nas.search.strategy import LOSS, Budget, Proposal, Strategy, SupernetTraining, Task, TrialFailed
from recsys_nas.search.trial_settings import TrialsConfig
from recsys_nas.space import Architecture, SearchSpace, SpaceRules

INDEPENDENT = SearchSpace(2, 3, 4, SpaceRules(2, (4, 8), (2,), ("linear", "fm", "dot_product"), ("embedded_fc",)))
ONE_OF_EACH = SearchSpace(
    2,
    3,
    4,
    SpaceRules(
        num_blocks=3,
        dense_widths=(4, 8),
        token_counts=(2, 3),
        dense_modules=("linear", "mixed_dot_product", "sigmoid_gating"),
        sparse_modules=("embedded_fc", "transformer"),
        pick="one",
        connect="any",
        merger_tokens=2,
        head="last",
        stem="split",
        normalisation="layer",
        linear_skip=False,
    ),
)
SPACES = {"independent": INDEPENDENT, "one_of_each": ONE_OF_EACH}
SETTINGS = TrialsConfig(rows_per_trial=100, population=8, tournament=4, children=2, finalists=3, judgements=40)
VARIANTS = {name: (name, SETTINGS) for name in STRATEGIES} | {
    "one_shot_by_policy": ("one_shot", replace(SETTINGS, path_sampling="policy", reward_baseline=True)),
    "predictor_rl_with_rates": ("predictor_rl", replace(SETTINGS, learning_rates=(1e-3, 1e-2), init_scales=(0.01, 0.1), flops_weight=0.01)),
    "superproxy": ("zero_cost", replace(SETTINGS, proxy_searcher="superproxy", proxy_warmup_share=0.0, finalists=0)),
}
"""Every strategy, and those that one of its settings makes another: by a name, the strategy and its settings."""
BUDGET = Budget(rows=3000)


def task(space: SearchSpace, seed: int = 0, budget: Budget = BUDGET, max_flops: int = 0) -> Task:
    return Task(space, budget, seed, dense_flops, max_flops)


def strategy_of(name: str, of: Task, **changes: Any) -> Strategy:
    """One of VARIANTS, with `changes` of its settings."""
    strategy, settings = VARIANTS[name]
    return STRATEGIES[strategy](of, replace(settings, **changes))


class FabricatedBench:
    """Losses in [.2, .8], by choices; the `fail_at`-th judgement fails (`kill_at`: kills the search), as do those of `bad` networks.

    All other figures that a real bench gives are here, following the loss.
    """

    def __init__(self, space: SearchSpace, fail_at: int | None = None, kill_at: int | None = None) -> None:
        self.choices = Choices(space)
        self.weights = np.random.default_rng(3).normal(size=self.choices.width)
        self.fail_at, self.kill_at = fail_at, kill_at
        self.judged: list[Proposal] = []
        self.trained: list[Architecture] = []

    def loss(self, architecture: Architecture) -> float:
        value = float(self.choices.encode(architecture) @ self.weights) / math.sqrt(len(self.choices.all))
        return 0.5 + 0.3 * math.tanh(value)

    def train_supernet(self, training: SupernetTraining) -> float:
        steps = training.rows // 10
        for step in range(steps):
            path = training.sampler.path(step, steps)
            self.trained.append(path)
            training.sampler.learn(step, -self.loss(path))
        return 1.0 if training.rows else 0.0

    def judge(self, proposal: Proposal) -> Mapping[str, float]:
        number = len(self.judged)
        if number == self.kill_at:
            raise KeyboardInterrupt
        self.judged.append(proposal)
        if number == self.fail_at:
            raise TrialFailed("out of memory")
        loss = self.loss(proposal.architecture)
        figures = {LOSS: loss, "ne": loss / 0.6, "auc": 1 - loss, "slope": 0.0, "seconds": 0.1}
        if proposal.fidelity == "scored":
            figures = {LOSS: loss} | dict.fromkeys(("zico", "fisher_rao", "grad_norm", "synflow", "flops", "params"), -loss)
        return figures


def run(name: str, of: Task, bench: FabricatedBench, folder: Path, **changes: Any) -> Architecture:
    """A whole search, its journal in `folder`; goes on from what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "trials.jsonl", {"strategy": name, "seed": of.seed})
    return Search(strategy_of(name, of, **changes), of, bench, journal, clock=lambda: 0.0).run()[0]


def main() -> None:
    """Runs every variant on one of the spaces in the given folder; prints what each judged and chose, by keys, as JSON."""
    found: dict[str, list[str]] = {}
    for name in VARIANTS:
        bench = FabricatedBench(ONE_OF_EACH)
        chosen = run(name, task(ONE_OF_EACH), bench, Path(sys.argv[1]) / name)
        found[name] = [*(proposal.architecture.key() for proposal in bench.judged), chosen.key()]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
