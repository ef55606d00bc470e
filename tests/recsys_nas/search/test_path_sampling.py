"""Sampled paths: NASRec's counts of sources, the warm-up on the full network, and a policy that finds what is rewarded."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from recsys_nas.search.choices import Choices
from recsys_nas.search.path_sampling import LearntPaths, Policy, SampledPaths, single_operator_path
from recsys_nas.space import NAMED_SPACES, Architecture, SearchSpace
from tests.recsys_nas.search.fabricated_bench import SPACES, FabricatedBench


@pytest.mark.parametrize("name", sorted(SPACES))
def test_choices_read_back_what_they_make(name: str) -> None:
    space = SPACES[name]
    choices, generator = Choices(space), np.random.default_rng(0)
    for _ in range(200):
        values = [int(generator.integers(choice.size)) for choice in choices.all]
        made = choices.decode(values)
        if made is None:
            assert not any(values[i] for i, choice in enumerate(choices.all) if choice.name.startswith("keeps"))
            continue
        space.check(made)
        encoding = choices.encode(made)
        assert encoding.shape == (choices.width,)
        starts = np.cumsum([0, *(choice.size for choice in choices.all)])
        for choice, value, start in zip(choices.all, values, starts, strict=False):
            told = encoding[start : start + choice.size]
            assert told.sum() in (0, 1)
            # Sources are mended where there are none or too many, and a merger may reach nothing.
            if told.sum() and " reads " not in choice.name and "_to_" not in choice.name:
                assert int(told.argmax()) == value, f"{choice.block}/{choice.name}"


@pytest.mark.parametrize("name", sorted(SPACES))
def test_equal_encodings_are_equal_networks(name: str) -> None:
    space, generator = SPACES[name], Random(1)
    choices = Choices(space)
    seen: dict[bytes, str] = {}
    for _ in range(500):
        member = space.sample(generator)
        key = seen.setdefault(choices.encode(member).tobytes(), member.live().key())
        assert key == member.key()


def test_single_operator_paths_read_one_and_a_binomial_more() -> None:
    space = SearchSpace(13, 26, 16, NAMED_SPACES["nasrec_small"])
    generator = Random(0)
    counts: Counter[int] = Counter()
    draws = 4000
    for _ in range(draws):
        path = single_operator_path(space, generator)
        space.check(path)
        counts[len(path.blocks[6].modules[-1].sparse)] += 1
    assert {k: round(v / draws, 1) for k, v in counts.items()} == {1: 0.1, 2: 0.4, 3: 0.4, 4: 0.1}, "1 + Binomial(3, 1/2)"
    assert {len(module.dense) for module in single_operator_path(space, generator).blocks[0].modules if module.dense} == {1}


def test_single_operator_paths_draw_both_mergers() -> None:
    space, generator = SPACES["one_of_each"], Random(0)
    blocks = [block for _ in range(50) for block in single_operator_path(space, generator).blocks]
    assert {block.dense_to_tokens for block in blocks} == {0, 2}
    assert {block.tokens_to_dense for block in blocks} == {False, True}


def test_the_full_network_is_trained_with_a_probability_that_falls_to_none() -> None:
    space = SPACES["one_of_each"]
    paths = SampledPaths(space, 0, full_share=0.5, single=True)
    full = [paths.path(step, 2000) == space.full() for step in range(2000)]
    shares = [sum(full[start : start + 250]) / 250 for start in range(0, 2000, 250)]
    assert shares[:4] == pytest.approx([0.875, 0.625, 0.375, 0.125], abs=0.1)
    assert shares[4:] == [0, 0, 0, 0]
    assert full[0], "it begins with the full network"
    assert not any(SampledPaths(space, 0, 0.0, True).path(step, 2000) == space.full() for step in range(50))


def test_paths_depend_on_seed_and_step_alone() -> None:
    space = SPACES["one_of_each"]
    first, second = (SampledPaths(space, 3, 0.1, single=False) for _ in range(2))
    backwards = [second.path(step, 100) for step in reversed(range(20, 40))]
    assert [first.path(step, 100) for step in range(20, 40)] == backwards[::-1]


def test_reinforce_moves_logits_by_the_formula() -> None:
    policy = Policy(SPACES["independent"])
    size = torch.isfinite(policy.logits).sum(1)
    values = torch.zeros(1, len(size), dtype=torch.int64)
    policy.reinforce(values, torch.tensor([2.0]), rate=0.5)
    assert policy.logits[:, 0].tolist() == pytest.approx([2.0 * 0.5 * (1 - 1 / n) for n in size.tolist()])
    assert policy.logits[:, 1].tolist() == pytest.approx([-2.0 * 0.5 / n for n in size.tolist()])
    assert torch.allclose(policy.probabilities().sum(1), torch.ones(len(size)))


def test_a_temperature_divides_the_logits_that_reinforce_measures_probabilities_at() -> None:
    policy = Policy(SPACES["independent"])
    policy.logits[0, :2] = torch.tensor([2.0, 0.0])
    hot = 1 / (1 + math.exp(-2.0 / 4))
    assert policy.probabilities(4.0)[0, :2].tolist() == pytest.approx([hot, 1 - hot])
    values = torch.zeros(1, len(policy.logits), dtype=torch.int64)
    policy.reinforce(values, torch.tensor([1.0]), rate=0.5, temperature=4.0)
    assert float(policy.logits[0, 0]) == pytest.approx(2.0 + 0.5 * (1 - hot))


def test_a_policy_draws_by_its_probabilities() -> None:
    policy = Policy(SPACES["one_of_each"])
    policy.logits[0, 0] = 2.0
    expected = float(policy.probabilities()[0, 0])
    generator = np.random.default_rng(0)
    drawn = [int(policy.draw(generator)[0][0]) for _ in range(2000)]
    assert sum(value == 0 for value in drawn) / 2000 == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_a_policy_learns_what_is_rewarded(name: str) -> None:
    bench = FabricatedBench(SPACES[name])
    paths = LearntPaths(SPACES[name], 0, rest_share=0.1)

    def mean_loss(seed: int) -> float:
        generator = np.random.default_rng(seed)
        return float(np.mean([bench.loss(paths.policy.draw(generator)[1]) for _ in range(100)]))

    before, steps = mean_loss(1), 1500
    for step in range(steps):
        drawn: Architecture = paths.path(step, steps)
        paths.learn(step, -bench.loss(drawn))
    assert mean_loss(1) < before - 0.1


def test_an_advantage_is_the_reward_less_its_running_mean_in_running_deviations_cut_at_three(monkeypatch: pytest.MonkeyPatch) -> None:
    paths, advantages = LearntPaths(SPACES["one_of_each"], 0, rest_share=0.0), []
    monkeypatch.setattr(paths.policy, "reinforce", lambda values, advantage, rate: advantages.append(float(advantage)))
    for step, reward in enumerate((1.0, 2.0, 1.2)):
        paths.path(step, 3)
        paths.learn(step, reward)
    # Nothing to compare the first with, no spread before the second; then weights .98 and 1: mean 2.98 / 1.98, mean square 4.98 / 1.98.
    mean = 2.98 / 1.98
    assert advantages == pytest.approx([3.0, (1.2 - mean) / math.sqrt(4.98 / 1.98 - mean**2)])


def test_rewards_teach_nothing_while_the_policy_rests() -> None:
    paths = LearntPaths(SPACES["one_of_each"], 0, rest_share=0.5)
    moved = []
    for step in range(8):
        paths.path(step, 8)
        before = paths.policy.logits.clone()
        paths.learn(step, float(step))
        moved.append(not torch.equal(paths.policy.logits, before))
    assert moved == [False] * 4 + [True] * 4


def test_a_policy_stays_where_paths_are_drawn_when_its_network_moves() -> None:
    paths = LearntPaths(SPACES["one_of_each"], 0, rest_share=0.0)
    nn.ModuleDict({"sampler": paths}).to("meta")
    paths.path(0, 10)
    paths.learn(0, 1.0)
    assert {buffer.device.type for buffer in paths.buffers()} == {"cpu"}


def test_what_a_policy_has_learnt_is_in_its_state() -> None:
    first, second = (LearntPaths(SPACES["one_of_each"], 0, rest_share=0.0) for _ in range(2))
    for step in range(30):
        first.path(step, 60)
        first.learn(step, float(step % 3))
    second.load_state_dict(first.state_dict())
    for step in range(30, 60):
        assert first.path(step, 60) == second.path(step, 60)
        first.learn(step, float(step % 3))
        second.learn(step, float(step % 3))
