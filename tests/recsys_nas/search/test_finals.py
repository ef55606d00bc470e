"""Strategies that judge many networks cheaply and train the best alone: who is trained, on how many rows, and who wins."""

from __future__ import annotations

from random import Random

import pytest
import torch

from recsys_nas.search.alone import Finals
from recsys_nas.search.choices import Choices
from recsys_nas.search.evolution import EvolutionSettings
from recsys_nas.search.one_shot import OneShot, OneShotSettings
from recsys_nas.search.path_sampling import SampledPaths
from recsys_nas.search.strategy import LOSS, Budget, Candidates, Fidelity, Proposal, Trial
from recsys_nas.search.zero_cost import Superproxy, ZeroCost, ZeroCostSettings
from recsys_nas.space import Architecture
from tests.recsys_nas.search.fabricated_bench import SPACES, FabricatedBench, task

SPACE = SPACES["one_of_each"]
EVOLUTION = EvolutionSettings(2, 2, 1, 8)


def networks(count: int) -> list[Architecture]:
    generator = Random(0)
    return [SPACE.sample(generator) for _ in range(count)]


def trial(network: Architecture, loss: float, fidelity: Fidelity = "shared", failed: str = "") -> Trial:
    return Trial(Proposal(network, fidelity), {LOSS: loss}, 1.0, failed)


class TestFinals:
    def finals(self, count: int) -> tuple[Finals, list[Architecture]]:
        """Four networks judged at .4, .2, failed and .3."""
        finals, drawn = Finals(count, lambda number: 600 // number, lambda trial: trial.loss), networks(4)
        for network, loss, failed in zip(drawn, (0.4, 0.2, 0.1, 0.3), ("", "", "out of memory", ""), strict=True):
            finals.tell(trial(network, loss, failed=failed))
        return finals, drawn

    def test_the_best_are_trained_in_their_order_on_rows_by_their_number(self) -> None:
        finals, drawn = self.finals(2)
        assert not finals.begun
        asked = []
        while (proposal := finals.ask()) is not None:
            asked.append(proposal)
            finals.tell(trial(proposal.architecture, 0.5, "trained"))
        assert asked == [Proposal(drawn[1], "trained", 300), Proposal(drawn[3], "trained", 300)]
        assert finals.begun

    def test_trained_alone_counts_for_more_than_a_cheap_judgement(self) -> None:
        finals, drawn = self.finals(2)
        assert finals.choose() == drawn[1]
        for loss in (0.9, 0.8):
            proposal = finals.ask()
            assert proposal is not None
            finals.tell(trial(proposal.architecture, loss, "trained"))
        assert finals.choose() == drawn[3], "though both look worse than when judged cheaply"

    def test_where_no_finalist_could_be_trained_the_cheap_judgement_stands(self) -> None:
        finals, drawn = self.finals(1)
        finals.ask()
        finals.tell(trial(drawn[1], 0.1, "trained", failed="out of memory"))
        assert finals.choose() == drawn[1]

    def test_fewer_than_asked_for_share_the_rows(self) -> None:
        finals, drawn = self.finals(5)
        assert finals.ask() == Proposal(drawn[1], "trained", 200)


def one_shot(finalists: int, rows: int = 1000, **changes: object) -> OneShot:
    settings = {"sampling": "single", "full_share": 0.1, "judgements": 4, "rows_per_trial": 100, "evolution": EVOLUTION} | changes
    return OneShot(task(SPACE, budget=Budget(rows)), OneShotSettings(finalists=finalists, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("finalists", "trained", "supernet"), [(3, 3, 700), (9, 5, 500), (0, 0, 1000)])
def test_one_shot_gives_the_supernet_what_the_finalists_leave_and_at_least_half(finalists: int, trained: int, supernet: int) -> None:
    strategy = one_shot(finalists)
    assert strategy.num_finalists == trained
    training = strategy.supernet()
    assert training is not None
    assert training.rows == supernet


def test_one_shot_trains_a_baseline_only_when_asked() -> None:
    plain, with_baseline = one_shot(3, sampling="policy").supernet(), one_shot(3, sampling="policy", baseline=True).supernet()
    assert plain is not None
    assert with_baseline is not None
    assert plain.baseline is None
    assert with_baseline.baseline == SPACE.full()


def test_one_shot_evolves_by_what_the_supernet_says() -> None:
    strategy = one_shot(0, judgements=60, evolution=EvolutionSettings(15, 8, 2, 60))
    bench, judged = FabricatedBench(SPACE), []
    while (proposal := strategy.ask()) is not None:
        judged.append(proposal.architecture)
        strategy.tell(trial(proposal.architecture, bench.loss(proposal.architecture)))
    draws = Candidates(task(SPACE))
    by_chance = [draws.fresh() for _ in range(60)]
    assert judged[:15] == by_chance[:15]
    assert len(judged) == 60
    assert not set(judged[15:]) & set(by_chance[15:])


def test_one_shot_by_a_policy_judges_what_the_policy_draws() -> None:
    strategy = one_shot(0, sampling="policy", judgements=30)
    policy = strategy.sampler.policy  # type: ignore[union-attr]
    favourite = next(number for number, choice in enumerate(policy.choices.all) if choice.size == 3)
    policy.logits[favourite, 1] = 20.0
    drawn = []
    while (proposal := strategy.ask()) is not None:
        drawn.append(proposal.architecture)
        strategy.tell(trial(proposal.architecture, 0.5))
    choice = policy.choices.all[favourite]
    assert {choice.of(network.live().blocks[choice.block - 1]) for network in drawn} <= {1, None}


def test_one_shot_by_a_policy_that_has_settled_on_what_costs_too_much_draws_by_chance() -> None:
    limit = 2 * min(task(SPACE).price(SPACE.sample(Random(seed))) for seed in range(30))
    of = task(SPACE, budget=Budget(1000), max_flops=limit)
    strategy = OneShot(of, OneShotSettings("policy", 0.1, 4, 0, 100, EVOLUTION))
    policy, dear = strategy.sampler.policy, torch.from_numpy(Choices(SPACE).encode(SPACE.full()))  # type: ignore[union-attr]
    policy.logits[torch.isfinite(policy.logits)] = 30 * dear
    first = strategy.ask()
    assert first is not None
    assert of.price(first.architecture) <= limit


def zero_cost(warmup_share: float, finalists: int = 2) -> ZeroCost:
    settings = ZeroCostSettings("sigeo", "evolution", warmup_share, 4, finalists, 100, EVOLUTION)
    return ZeroCost(task(SPACE, budget=Budget(1000)), settings)


@pytest.mark.parametrize(("warmup_share", "score"), [(0.0, 3.0 - 2.0), (0.1, 3.0 - 50 * 2.0 - 0.5)])
def test_sigeos_weights_are_those_of_a_warm_or_a_cold_supernet(warmup_share: float, score: float) -> None:
    figures = {LOSS: 0.5, "zico": 3.0, "fisher_rao": -2.0}
    value = zero_cost(warmup_share).value(Trial(Proposal(SPACE.full(), "scored"), figures, 1.0))
    assert value == pytest.approx(-score)


def test_the_warm_up_of_a_scored_supernet_goes_from_the_full_network_to_paths() -> None:
    training = zero_cost(0.4).supernet()
    assert training is not None
    assert training.rows == 400
    assert isinstance(training.sampler, SampledPaths)
    full = [training.sampler.path(step, 400) == SPACE.full() for step in range(400)]
    assert sum(full[:100]) > 70
    assert 5 < sum(full[200:300]) < 60
    assert training.sampler.single


def test_what_the_warm_up_leaves_is_shared_by_the_finalists() -> None:
    strategy = zero_cost(0.4)
    for network in networks(4):
        strategy.ask()
        strategy.tell(Trial(Proposal(network, "scored"), {LOSS: 0.5, "zico": 1.0, "fisher_rao": 0.0}, 1.0))
    proposal = strategy.ask()
    assert proposal is not None
    assert (proposal.fidelity, proposal.rows) == ("trained", 300)


def test_a_superproxys_reward_is_a_rank_among_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    superproxy = Superproxy(task(SPACE), judgements=8)
    rewards, temperatures = [], []

    def reinforce(values: object, advantages: object, rate: float, temperature: float = 1.0) -> None:
        rewards.append(float(advantages))  # type: ignore[arg-type]
        temperatures.append(temperature)

    monkeypatch.setattr(superproxy.policy, "reinforce", reinforce)
    for score in (5.0, 9.0, 7.0, 1.0, 7.0):
        superproxy.tell(superproxy.draw(), score)
    # Above the first; between two; below all three; ahead of two, level with one, behind one.
    assert rewards == pytest.approx([1.0, 0.0, -1.0, 0.25])
    assert temperatures == pytest.approx([2.0 * 0.25 ** (done / 8) for done in (1, 2, 3, 4)])
