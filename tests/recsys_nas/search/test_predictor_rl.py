"""The ranking predictor, the policy over encodings, extrapolation, and records of earlier runs."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from recsys_nas.search.agreement import kendall_tau
from recsys_nas.search.choices import Choices
from recsys_nas.search.journal import Journal, earlier_trials
from recsys_nas.search.path_sampling import Policy
from recsys_nas.search.predictor import RankPredictor, held_out_tau
from recsys_nas.search.predictor_rl import PredictorRL, PredictorRLSettings, extrapolated
from recsys_nas.search.strategy import Proposal, SearchError, Trial
from tests.recsys_nas.search.fabricated_bench import SPACES, FabricatedBench, run, strategy_of, task

SPACE = SPACES["one_of_each"]


def records(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Encodings `[count, width]` and losses `[count]` of random networks."""
    bench, choices, generator = FabricatedBench(SPACE), Choices(SPACE), Random(seed)
    drawn = [SPACE.sample(generator) for _ in range(count)]
    return np.stack([choices.encode(a).astype(np.float64) for a in drawn]), np.array([bench.loss(a) for a in drawn])


def test_a_predictor_ranks_networks_that_it_has_not_seen() -> None:
    inputs, values = records(80)
    predictor = RankPredictor(seed=0)
    predictor.fit(inputs, values, np.ones(80), np.zeros(80, np.int64))
    others, truth = records(60, seed=1)
    assert kendall_tau(predictor.predict(others), truth) > 0.6
    assert held_out_tau(inputs, values, np.ones(80), seed=0) > 0.5
    shuffled = np.random.default_rng(0).permutation(values)
    assert abs(held_out_tau(inputs, shuffled, np.ones(80), seed=0)) < 0.25, "nothing to learn, nothing claimed"
    assert np.isnan(held_out_tau(inputs[:4], values[:4], np.ones(4), seed=0))


def test_records_of_different_searches_are_not_compared_with_each_other() -> None:
    inputs, values = records(120)
    # The second search had one option in all of its networks, and a day of higher losses: compared across, the option would be to blame.
    option = int(np.argmin(np.abs(inputs.mean(0) - 0.5)))
    groups = (inputs[:, option] > 0).astype(np.int64)
    predictor = RankPredictor(seed=0)
    predictor.fit(inputs, values + groups, np.ones(120), groups)
    others, truth = records(80, seed=1)
    with_it, without = others[:, option] > 0, others[:, option] == 0
    predicted = predictor.predict(others)
    assert kendall_tau(predicted, truth) > 0.4
    apart = predicted[with_it].mean() - predicted[without].mean()
    assert abs(apart) < 1.0, f"standard deviations: {apart}"


def test_reinforce_over_encodings_moves_only_choices_with_effect() -> None:
    policy = Policy(SPACE)
    member = SPACE.sample(Random(3))
    encoding = torch.from_numpy(policy.choices.encode(member)).unsqueeze(0)
    likelihood = policy.log_likelihood(encoding)
    has_effect = torch.tensor([bool(choice.of(member.live().blocks[choice.block - 1]) is not None) for choice in policy.choices.all])
    assert not has_effect.all()
    policy.reinforce_encoded(encoding, torch.tensor([1.0]), rate=0.5)
    moved = policy.logits.masked_fill(~torch.isfinite(policy.logits), 0).abs().sum(1) > 0
    assert torch.equal(moved, has_effect)
    assert policy.log_likelihood(encoding) > likelihood
    size = next(choice.size for choice, live in zip(policy.choices.all, has_effect, strict=True) if live)
    first = int(has_effect.nonzero()[0])
    assert float(policy.logits[first].max()) == pytest.approx(0.5 * (1 - 1 / size))


def test_the_policy_and_the_predictor_lead_to_better_networks_than_chance(tmp_path: Path) -> None:
    bench = FabricatedBench(SPACE)
    run("predictor_rl", task(SPACE), bench, tmp_path)
    losses = [bench.loss(proposal.architecture) for proposal in bench.judged]
    assert len(losses) == 30
    assert np.mean(losses[-10:]) < np.mean(losses[:8]) - 0.05


def test_ne_is_extrapolated_by_its_slope() -> None:
    proposal = Proposal(SPACE.sample(Random(0)), "trained", 100)
    assert extrapolated(Trial(proposal, {"loss": 0.5, "ne": 0.9, "slope": -0.02}, 1.0)) == pytest.approx(0.88)
    assert extrapolated(Trial(proposal, {"loss": 0.5}, 1.0)) == 0.5


def test_the_reward_charges_for_flops() -> None:
    strategy = PredictorRL(task(SPACE), PredictorRLSettings(100, flops_weight=0.25))
    trial = Trial(Proposal(SPACE.full(), "trained", 100), {"loss": 0.5, "ne": 0.8, "slope": 0.0}, 1.0)
    assert strategy.value(trial) == pytest.approx(0.75 * 0.8 + 0.25)


def test_records_of_an_earlier_run_replace_draws_by_chance(tmp_path: Path) -> None:
    day = tmp_path / "days" / "day=00"
    bench = FabricatedBench(SPACE)
    run("random", task(SPACE), bench, day)
    earlier = earlier_trials(tmp_path, SPACE)
    assert [trial.architecture for trial in earlier[0]] == [proposal.architecture for proposal in bench.judged]
    warm = strategy_of("predictor_rl", task(SPACE, seed=5), warm_start=str(tmp_path))
    cold = strategy_of("predictor_rl", task(SPACE, seed=5))
    losses = []
    for strategy in (warm, cold):
        proposal = strategy.ask()
        assert proposal is not None
        losses.append(bench.loss(proposal.architecture))
    assert losses[0] < np.median([bench.loss(p.architecture) for p in bench.judged])
    assert losses[0] < losses[1]


def test_a_warm_start_from_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"trials\.warm_start = .*holds no networks of this space"):
        strategy_of("predictor_rl", task(SPACE), warm_start=str(tmp_path))
    folder = tmp_path / "days" / "day=00"
    folder.mkdir(parents=True)
    Journal(folder / "trials.jsonl", {}).open()
    (folder / "trials.jsonl").write_text("{}\nnonsense\n")
    with pytest.raises(SearchError, match="is damaged"):
        strategy_of("predictor_rl", task(SPACE), warm_start=str(tmp_path))


def test_the_summary_tells_how_well_the_predictor_ranks(tmp_path: Path) -> None:
    strategy = strategy_of("predictor_rl", task(SPACE))
    assert strategy.summary() == {}
    bench = FabricatedBench(SPACE)
    for _ in range(30):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(Trial(proposal, bench.judge(proposal), 0.1))
    told = strategy.summary()
    assert told["predictor_records"] == 30
    assert 0 < told["predictor_kendall_tau"] <= 1
