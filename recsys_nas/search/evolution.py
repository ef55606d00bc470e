"""Regularised evolution (Real et al., 2019) with NASRec's settings (Zhang et al., 2023; nasrec/searcher/searcher.py in its code).

128 networks to begin with; then, generation by generation, the best of 64 drawn from the population has 8 children, which
replace the 8 oldest. A child differs in 6 choices from its parent at first and in 1 at the end. NASRec marks mutations by
their tokens, and trains the same network again under another one (36 to 40 % of token changes leave it as it was); here
networks are told apart by `Architecture.key`, so nothing is judged twice.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from recsys_nas.search.strategy import Candidates, Trial, Value, best, loss_of
from recsys_nas.space import Architecture

MOST_MUTATIONS = 6


@dataclass(frozen=True)
class EvolutionSettings:
    """`population` at the start and ever after, `tournament` drawn for each parent, `children` a generation.

    `judgements`: how many there will be, over which the number of mutations decays.
    """

    population: int
    tournament: int
    children: int
    judgements: int

    @staticmethod
    def within(judgements: int, population: int = 128, tournament: int = 64, children: int = 8) -> EvolutionSettings:
        """NASRec's proportions, made smaller where fewer than four populations can be judged, or nothing would evolve."""
        size = max(2, min(population, judgements // 4))
        return EvolutionSettings(size, max(1, size * tournament // population), max(1, min(children, size // 2)), judgements)


class Evolution:
    """The population and who comes next; what a judgement is, and its `value` (the lower the better), is for its user to say."""

    def __init__(self, candidates: Candidates, settings: EvolutionSettings, value: Value = loss_of) -> None:
        self.candidates = candidates
        self.settings = settings
        self.value = value
        self._population: deque[Trial] = deque()
        self._brood: list[Trial] = []
        self._parent: Architecture | None = None
        self._told = 0

    def next(self) -> Architecture | None:
        """The next network to judge; None when no new one is found."""
        if self._told < self.settings.population or not self._population:
            return self.candidates.fresh()
        if self._parent is None:
            generator = self.candidates.generator
            drawn = generator.sample(list(self._population), min(self.settings.tournament, len(self._population)))
            self._parent = best(drawn, self.value).architecture
        # All near a parent may be known, or too dear, while there are others elsewhere.
        return self.candidates.fresh(self._child) or self.candidates.fresh()

    def tell(self, trial: Trial) -> None:
        """Children join the population when their generation is complete, without those that failed."""
        self._told += 1
        if self._told <= self.settings.population:
            if not trial.failed:
                self._population.append(trial)
            return
        self._brood.append(trial)
        if len(self._brood) < self.settings.children:
            return
        for child in self._brood:
            if not child.failed:
                self._population.append(child)
                self._population.popleft()
        self._brood, self._parent = [], None

    @property
    def mutations(self) -> int:
        """6 at first, then 5 to 1, each for as long: NASRec's rule for its 240 generations."""
        later = max(1, self.settings.judgements - self.settings.population)
        left = 1 - (self._told - self.settings.population) / later
        return max(1, min(MOST_MUTATIONS, 1 + math.floor((MOST_MUTATIONS - 1) * left)))

    def _child(self) -> Architecture:
        assert self._parent is not None
        child = self._parent
        for _ in range(self.mutations):
            try:
                child = self.candidates.task.space.mutate(child, self.candidates.generator)
            except ValueError:  # the space holds no other
                break
        return child
