"""The search strategies that go trial by trial, by the names that `search.strategy` takes beside `dnas`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recsys_nas.search.alone import TrainedAlone
from recsys_nas.search.evolution import Evolution, EvolutionSettings
from recsys_nas.search.journal import earlier_trials
from recsys_nas.search.one_shot import OneShot, OneShotSettings
from recsys_nas.search.predictor_rl import PredictorRL, PredictorRLSettings
from recsys_nas.search.random_search import RandomDraws
from recsys_nas.search.strategy import Candidates, Strategy, Task
from recsys_nas.search.trial_settings import TrialsConfig
from recsys_nas.search.zero_cost import ZeroCost, ZeroCostSettings

DNAS = "dnas"


def _random(task: Task, config: TrialsConfig) -> Strategy:
    return TrainedAlone(RandomDraws(task), config.rows_per_trial)


def _evolution(task: Task, config: TrialsConfig) -> Strategy:
    trials = task.budget.rows // config.rows_per_trial
    settings = EvolutionSettings.within(trials, config.population, config.tournament, config.children)
    return TrainedAlone(Evolution(Candidates(task), settings), config.rows_per_trial)


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


def _zero_cost(task: Task, config: TrialsConfig) -> Strategy:
    settings = ZeroCostSettings(
        proxy=config.proxy,
        searcher=config.proxy_searcher,
        warmup_share=config.proxy_warmup_share,
        judgements=config.judgements,
        finalists=config.finalists,
        rows_per_trial=config.rows_per_trial,
        evolution=EvolutionSettings.within(config.judgements, config.population, config.tournament, config.children),
    )
    return ZeroCost(task, settings)


def _predictor_rl(task: Task, config: TrialsConfig) -> Strategy:
    earlier = earlier_trials(Path(config.warm_start), task.space) if config.warm_start else ()
    settings = PredictorRLSettings(config.rows_per_trial, config.flops_weight, config.learning_rates, config.init_scales, earlier)
    return PredictorRL(task, settings)


STRATEGIES: dict[str, Callable[[Task, TrialsConfig], Strategy]] = {
    "random": _random,
    "evolution": _evolution,
    "one_shot": _one_shot,
    "zero_cost": _zero_cost,
    "predictor_rl": _predictor_rl,
}
