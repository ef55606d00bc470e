"""The ranking predictor, the policy over encodings, extrapolation, and records of earlier runs."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from recsys_nas.search import predictor_rl
from recsys_nas.search.agreement import kendall_tau
from recsys_nas.search.choices import Choices
from recsys_nas.search.journal import Journal, earlier_trials
from recsys_nas.search.path_sampling import Policy
from recsys_nas.search.predictor import RankPredictor, held_out_tau
from recsys_nas.search.predictor_rl import CLIP, ROUND, PredictorRL, PredictorRLSettings, extrapolated
from recsys_nas.search.strategy import Budget, Proposal, SearchError, Trial
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


def test_predicted_values_are_in_standard_deviations_of_the_records_whatever_the_scale_of_a_member() -> None:
    inputs, values = records(80)
    predictor = RankPredictor(seed=0)
    predictor.fit(inputs, values, np.ones(80), np.zeros(80, np.int64))
    predicted = predictor.predict(inputs)
    assert predicted.mean() == pytest.approx(0, abs=1e-5)
    assert 0.7 < predicted.std() <= 1.0


def test_the_second_head_ranks_flops() -> None:
    inputs, values = records(80)
    flops = np.random.default_rng(0).permutation(80).astype(np.float64)
    predictor = RankPredictor(seed=0)
    predictor.fit(inputs, values, flops, np.zeros(80, np.int64))
    of_flops = predictor._scores(torch.from_numpy(inputs).float())[..., 1].detach().mean(0).double().numpy()
    assert kendall_tau(of_flops, flops) > 0.5


def test_each_member_sees_a_sample_of_the_records() -> None:
    """Of two records a member sees both with probability (1 - 1/e)^2, and otherwise cannot know which is better."""
    inputs, values = records(2)
    predictor = RankPredictor(seed=0)
    predictor.fit(inputs, values, np.ones(2), np.zeros(2, np.int64))
    first, second = predictor._scores(torch.from_numpy(inputs).float())[..., 0].detach().unbind(1)
    right = int(((first < second) == bool(values[0] < values[1])).sum())
    assert 5 <= right <= 9


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


class KnownPredictor:
    """Predicts the value of an encoding as a given function of it, whatever it is fitted to."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def fit(self, *records: object) -> None:
        pass

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(inputs @ self.weights)


def trained(strategy: PredictorRL, ne: list[float], seed: int = 0) -> list[Trial]:
    """Trials of random networks, told to the strategy."""
    generator = Random(seed)
    told = [Trial(Proposal(SPACE.sample(generator), "trained", 100), {"loss": 0.5, "ne": value, "slope": 0.0}, 1.0) for value in ne]
    for trial in told:
        strategy.tell(trial)
    return told


def foreseen(strategy: PredictorRL, monkeypatch: pytest.MonkeyPatch, seed: int = 4, scale: float = 1.0) -> np.ndarray:
    """Its predictor from now on: random weights over the choices, none over the training settings. Returned."""
    weights = scale * np.random.default_rng(seed).normal(size=strategy.policy.choices.width)
    known = KnownPredictor(np.concatenate([weights, np.zeros(len(strategy._options))]))
    monkeypatch.setattr(predictor_rl, "RankPredictor", lambda seed: known)
    strategy._predictor = known  # type: ignore[assignment]
    return weights


def test_a_batch_is_ranked_by_prediction_each_network_under_its_best_training_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = PredictorRL(task(SPACE), PredictorRLSettings(100, learning_rates=(1e-3, 1e-2, 1e-1)))
    trained(strategy, [0.8, 0.9])
    weights = foreseen(strategy, monkeypatch)
    strategy._predictor.weights[-3:] = (0.5, -0.5, 0.0)  # type: ignore[union-attr]
    drawn = [SPACE.sample(Random(seed)) for seed in range(20)]
    ranked = strategy._ranked(drawn)
    assert {training.learning_rate for _, training in ranked} == {1e-2}
    assert len(ranked) == 20
    predicted = [float(strategy.policy.choices.encode(architecture) @ weights) for architecture, _ in ranked]
    assert predicted == sorted(predicted)


def test_the_policy_moves_towards_what_the_predictor_prefers(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = PredictorRL(task(SPACE), PredictorRLSettings(100))
    trained(strategy, [0.8] * 4 + [0.8 + 1e-9] * 4)
    weights = foreseen(strategy, monkeypatch, scale=1.0)

    def expected() -> float:
        probabilities = strategy.policy.probabilities()[torch.isfinite(strategy.policy.logits)]
        return float(probabilities.double().numpy() @ weights)

    before = expected()
    strategy._learn()
    assert expected() < before - 0.5, "the lower the better"


def test_the_policy_moves_towards_what_was_measured_to_be_good(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = PredictorRL(task(SPACE), PredictorRLSettings(100))
    told = trained(strategy, [0.7] + [0.9] * 9)
    foreseen(strategy, monkeypatch, scale=0.0)
    encoded = torch.from_numpy(np.stack([strategy.policy.choices.encode(trial.architecture) for trial in told])).float()
    before = strategy.policy.log_likelihood(encoded)
    strategy._learn()
    gained = strategy.policy.log_likelihood(encoded) - before
    assert int(gained.argmax()) == 0
    assert gained[0] > 0.5


def test_old_records_count_at_most_so_much_for_the_policy_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = PredictorRL(task(SPACE), PredictorRLSettings(100))
    told = trained(strategy, [0.7, 0.9, 0.9, 0.9])
    foreseen(strategy, monkeypatch, scale=0.0)
    encoded = torch.from_numpy(np.stack([strategy.policy.choices.encode(trial.architecture) for trial in told])).float()
    for _ in range(50):
        strategy.policy.reinforce_encoded(encoded[:1], torch.ones(1), rate=1.0)
    assert float((strategy.policy.log_likelihood(encoded) - strategy.policy.log_likelihood(encoded, strategy._first_policy))[0]) > 3
    given: list[torch.Tensor] = []
    monkeypatch.setattr(strategy.policy, "reinforce_encoded", lambda seen, worth, rate: given.append(worth))
    strategy._learn()
    advantage = float(strategy._advantages_of_records()[0])
    assert float(given[0][0]) == pytest.approx(CLIP * advantage)
    assert given[0][1:].abs().max() < 0.1, "unlikely now, so they hardly count"


def test_records_are_worth_what_they_are_within_their_own_search() -> None:
    earlier = PredictorRL(task(SPACE), PredictorRLSettings(100))
    strategy = PredictorRL(task(SPACE), PredictorRLSettings(100, earlier=(trained(earlier, [0.1, 0.2, 0.3], seed=9),)))
    trained(strategy, [0.9, 0.8, 0.7])
    root = 1.5**0.5
    assert strategy._advantages_of_records().tolist() == pytest.approx([root, 0, -root, -root, 0, root], abs=1e-5)


@pytest.mark.parametrize(("rows", "first"), [(1000, ROUND), (4000, ROUND), (10_000, 20)])
def test_a_fifth_of_the_networks_is_drawn_by_chance_and_at_least_a_round(rows: int, first: int) -> None:
    assert PredictorRL(task(SPACE, budget=Budget(rows)), PredictorRLSettings(100)).num_first == first


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
