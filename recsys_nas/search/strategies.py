"""The search strategies that go trial by trial, by the names that `search.strategy` takes beside `dnas`."""

from __future__ import annotations

from collections.abc import Callable

from recsys_nas.search.evolution import EvolutionSearch, EvolutionSettings
from recsys_nas.search.one_shot import OneShot, OneShotSettings
from recsys_nas.search.random_search import RandomSearch
from recsys_nas.search.strategy import Strategy, Task
from recsys_nas.search.trial_settings import TrialsConfig

DNAS = "dnas"


def _random(task: Task, config: TrialsConfig) -> Strategy:
    return RandomSearch(task, config.rows_per_trial)


def _evolution(task: Task, config: TrialsConfig) -> Strategy:
    trials = task.budget.rows // config.rows_per_trial
    settings = EvolutionSettings.within(trials, config.population, config.tournament, config.children)
    return EvolutionSearch(task, config.rows_per_trial, settings)


def _one_shot(task: Task, config: TrialsConfig) -> Strategy:
    settings = OneShotSettings(
        sampling=config.path_sampling,
        full_share=config.full_path_share,
        judgements=config.judgements,
        finalists=config.finalists,
        rows_per_trial=config.rows_per_trial,
        evolution=EvolutionSettings.within(config.judgements, config.population, config.tournament, config.children),
        baseline=config.reward_baseline,
    )
    return OneShot(task, settings)


STRATEGIES: dict[str, Callable[[Task, TrialsConfig], Strategy]] = {"random": _random, "evolution": _evolution, "one_shot": _one_shot}
