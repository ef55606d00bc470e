"""Regularised evolution step by step: who is parent, who dies, how far children are from their parents."""

from __future__ import annotations

from itertools import pairwise

import pytest

from recsys_nas.search.evolution import Evolution, EvolutionSettings
from recsys_nas.search.strategy import LOSS, Candidates, Proposal, Trial
from recsys_nas.space import Architecture, SearchSpace
from tests.recsys_nas.search.fabricated_bench import SPACES, task

SPACE = SPACES["one_of_each"]


def told(evolution: Evolution, loss: float, failed: str = "") -> Architecture:
    """Asks for the next network and tells what became of it."""
    network = evolution.next()
    assert network is not None
    evolution.tell(Trial(Proposal(network), {} if failed else {LOSS: loss}, 1.0, failed))
    return network


def parent_of_next(evolution: Evolution, monkeypatch: pytest.MonkeyPatch) -> Architecture:
    """The network that the next child is mutated from; the child is told as middling."""
    parents = []
    mutate = SearchSpace.mutate

    def seen(space: SearchSpace, member: Architecture, generator: object) -> Architecture:
        parents.append(member)
        return mutate(space, member, generator)  # type: ignore[arg-type]

    monkeypatch.setattr(SearchSpace, "mutate", seen)
    told(evolution, 0.5)
    monkeypatch.setattr(SearchSpace, "mutate", mutate)
    return parents[0]


def test_the_parent_is_the_best_of_the_tournament(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EvolutionSettings(population=6, tournament=6, children=1, judgements=7)
    evolution = Evolution(Candidates(task(SPACE)), settings)
    first = [told(evolution, loss) for loss in (0.5, 0.3, 0.2, 0.6, 0.4, 0.7)]
    assert parent_of_next(evolution, monkeypatch) == first[2]


def test_children_replace_the_oldest_when_their_generation_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EvolutionSettings(population=3, tournament=3, children=2, judgements=100)
    evolution = Evolution(Candidates(task(SPACE)), settings)
    best_of_all = told(evolution, 0.1)
    second = told(evolution, 0.2)
    told(evolution, 0.9)
    told(evolution, 0.8)
    assert parent_of_next(evolution, monkeypatch) == best_of_all, "one child does not make a generation"
    # Two children came, so the two oldest are gone, the best of them too.
    assert parent_of_next(evolution, monkeypatch) not in (best_of_all, second)


def test_networks_that_failed_are_no_part_of_the_population(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EvolutionSettings(population=3, tournament=3, children=1, judgements=100)
    evolution = Evolution(Candidates(task(SPACE)), settings)
    told(evolution, 0.5, failed="out of memory")
    good = told(evolution, 0.2)
    told(evolution, 0.4)
    told(evolution, 0.5, failed="a child out of memory")
    told(evolution, 0.5, failed="another")
    assert parent_of_next(evolution, monkeypatch) == good, "children that failed push nobody out"
    assert parent_of_next(evolution, monkeypatch) != good, "the first child that lives pushes out the oldest that lived, not the first draw"


def test_the_value_says_who_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EvolutionSettings(population=3, tournament=3, children=1, judgements=100)
    evolution = Evolution(Candidates(task(SPACE)), settings, value=lambda trial: -trial.loss)
    networks = [told(evolution, loss) for loss in (0.2, 0.9, 0.4)]
    assert parent_of_next(evolution, monkeypatch) == networks[1]


def test_mutations_fall_from_six_to_one_each_for_as_long() -> None:
    evolution = Evolution(Candidates(task(SPACE)), EvolutionSettings(population=10, tournament=5, children=2, judgements=60))
    counts = []
    for number in range(60):
        if number >= 10:
            counts.append(evolution.mutations)
        told(evolution, 0.5)
    assert counts[0] == 6
    assert all(first - second in (0, 1) for first, second in pairwise(counts))
    assert [counts.count(n) for n in (5, 4, 3, 2, 1)] == pytest.approx([10] * 5, abs=1)


def test_a_search_goes_on_elsewhere_when_nothing_near_the_parent_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    evolution = Evolution(Candidates(task(SPACE)), EvolutionSettings(population=2, tournament=2, children=1, judgements=9))
    known = {told(evolution, 0.5).key() for _ in range(2)}
    monkeypatch.setattr(SearchSpace, "mutate", lambda space, member, generator: member)
    assert told(evolution, 0.5).key() not in known


@pytest.mark.parametrize(
    ("judgements", "settings"),
    [(2000, (128, 64, 8)), (512, (128, 64, 8)), (256, (64, 32, 8)), (40, (10, 5, 5)), (5, (2, 1, 1)), (1, (2, 1, 1))],
)
def test_small_budgets_shrink_the_population_in_proportion(judgements: int, settings: tuple[int, int, int]) -> None:
    made = EvolutionSettings.within(judgements)
    assert (made.population, made.tournament, made.children, made.judgements) == (*settings, judgements)
