"""Schedules of learning rates, and that they reach tables, dense half and alphas."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embeddings.config import EmbeddingConfig
from recsys_nas.jobs.environment import Ranks
from recsys_nas.training.schedules import Decay, Schedule
from tests.fabricated_shards import write_shards
from tests.recsys_nas.training.small_job import make_job

# fbgemm's dense lookup, of data-parallel tables, says once a process that its CPU gradient is not registered as torch would like;
# tests/embeddings/test_plan_invariance.py shows that the gradient is right.
pytestmark = pytest.mark.filterwarnings("ignore:fbgemm..dense_embedding_codegen_lookup_function")

DECAYS: tuple[Decay, ...] = ("constant", "linear", "cosine", "polynomial")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), [1, 1, 1, 1]),
        (Schedule("linear"), [1, 0.75, 0.5, 0.25]),
        (Schedule("linear", final_share=0.5), [1, 0.875, 0.75, 0.625]),
        (Schedule("polynomial", power=2), [1, 0.5625, 0.25, 0.0625]),
        (Schedule("cosine"), [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        (Schedule("linear", warmup_share=0.5), [0.5, 1, 1, 0.5]),
    ],
)
def test_factors_by_hand(schedule: Schedule, expected: list[float]) -> None:
    assert [schedule.factor(step, 4) for step in range(4)] == pytest.approx(expected)


@given(st.sampled_from(DECAYS), st.floats(0, 0.9), st.floats(0, 1), st.floats(0.5, 3), st.integers(1, 50))
def test_rates_rise_then_fall_between_the_bounds(decay: Decay, warmup: float, final: float, power: float, steps: int) -> None:
    factors = [Schedule(decay, warmup, final, power).factor(step, steps) for step in range(steps)]
    rising = round(warmup * steps)
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)
    assert factors[:rising] == sorted(factors[:rising])
    assert factors[rising:] == sorted(factors[rising:], reverse=True)
    assert min(factors[rising:], default=1) >= min(final, 1) - 1e-12


@pytest.mark.parametrize("kind", ["table_wise", "data_parallel"])
def test_the_schedule_reaches_tables_and_dense_half(tmp_path: Path, ranks: Ranks, kind: str) -> None:
    """With rates of zero nothing moves; with the first full step everything looked up does."""
    write_shards(tmp_path / "shards", days=1, rows_per_part=(192,))
    embedding = EmbeddingConfig(dim=8, sharding=(kind,), optimizer="sgd", learning_rate=0.5)  # type: ignore[arg-type]
    trainer = make_job(tmp_path / "shards", tmp_path / "checkpoint", embedding)
    batch = next(iter(trainer.parts.reader))
    factors = [0.0, 1.0]
    optimizer = trainer.state.optimizer
    optimizer._factor = lambda: factors[0]

    def weights() -> list[torch.Tensor]:
        names = ("model.tables.embedding_bags.t_C1.weight", "model.network.out.weight")
        tensors = trainer.state.tensors()
        return [getattr(tensors[name], "local_tensor", lambda name=name: tensors[name])().clone() for name in names]

    def step() -> None:
        optimizer.zero_grad()
        loss, _ = trainer._forward(batch)
        loss.backward()
        optimizer.step()

    before = weights()
    step()
    assert all(torch.equal(was, now) for was, now in zip(before, weights(), strict=True))
    factors.pop(0)
    step()
    assert not any(torch.equal(was, now) for was, now in zip(before, weights(), strict=True))
