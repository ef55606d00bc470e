"""From the gates of all days to one architecture: who is kept, how far days agree, and what a broken run folder is told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau  # type: ignore[import-untyped]

from data_prep.schema import Schema, SparseFeature
from data_prep.shards import Manifest, write_manifest
from recsys_nas.config import Config, ConfigError, from_mapping, to_toml
from recsys_nas.search.aggregate import aggregate_run, agreement, derive, judge, kendall_tau
from recsys_nas.space import Architecture, Block, Gate, SearchSpace, SpaceRules, load_architecture

SPACE = SearchSpace(2, 3, 4, SpaceRules(2, (8,), (5,), ("linear", "fm"), ("embedded_fc",)))
# In the order of the gates: block 1, then block 2.
DAYS = {0: [0.9, 0.2, 0.3, 0.4, 0.7, 0.45], 2: [0.8, 0.3, 0.1, 0.7, 0.6, 0.42], 3: [0.7, 0.1, 0.2, 0.3, 0.8, 0.51]}


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_kendall_tau_equals_scipys_with_and_without_ties(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=float).T
    expected = kendalltau(first, second).statistic
    told = kendall_tau(first, second)
    assert math.isnan(told) if math.isnan(expected) else told == pytest.approx(expected, abs=1e-12)


def test_kendall_tau_by_hand() -> None:
    assert kendall_tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(1 / 3)
    assert math.isnan(kendall_tau(np.array([0.5, 0.5]), np.array([0.1, 0.9])))
    assert math.isnan(kendall_tau(np.array([0.5]), np.array([0.5])))


def test_a_gate_is_judged_by_its_mean_over_days() -> None:
    verdicts = judge(SPACE.gates, np.array(list(DAYS.values())), threshold=0.5)
    assert [verdict.gate for verdict in verdicts] == list(SPACE.gates)
    assert [verdict.kept for verdict in verdicts] == [True, False, False, False, True, False]
    assert verdicts[0].by_day == (0.9, 0.8, 0.7)
    assert verdicts[0].probability == pytest.approx(0.8)
    assert verdicts[0].std == pytest.approx(0.1), "a sample of days: divided by one less than their number"
    assert judge(SPACE.gates, np.array([DAYS[0]]), 0.5)[0].std == 0


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=1, max_size=4), threshold=st.floats(0.05, 0.95))
def test_the_verdict_never_empties_the_network(values: list[list[float]], threshold: float) -> None:
    by_day = np.array(values)
    verdicts = judge(SPACE.gates, by_day, threshold)
    mean = by_day.mean(axis=0)
    above = {gate for gate, value in zip(SPACE.gates, mean, strict=True) if value > threshold}
    kept = {verdict.gate for verdict in verdicts if verdict.kept}
    assert kept == above if above else kept == {SPACE.gates[int(mean.argmax())]}
    assert derive(SPACE, verdicts).blocks


def test_the_derived_network_is_canonical() -> None:
    verdicts = judge(SPACE.gates, np.array([[0.1, 0.2, 0.3, 0.9, 0.8, 0.1]]), 0.5)
    # Block 1 is empty, so block 2 moves up.
    assert derive(SPACE, verdicts) == Architecture(2, 3, 4, (Block.reading((0,), ("fm", "linear"), 8),), (1,))


UP, DOWN = [0.1, 0.4, 0.6, 0.9], [0.9, 0.6, 0.4, 0.1]


@pytest.mark.parametrize(
    ("days", "tau", "jaccard"),
    [
        ([UP, UP, UP], 1.0, 1.0),
        ([UP, DOWN], -1.0, 0.0),
        ([UP, UP, DOWN], -1 / 3, 1 / 3),
        ([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.1, 0.2]], 2 / 3, 2 / 3),
        # Below the threshold a day still keeps its best gate.
        ([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]], 1.0, 1.0),
        ([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], -1.0, 0.0),
        # A day that ranks nothing is left out of the mean; where no pair is left, there is no tau.
        ([UP, UP, [0.5, 0.5, 0.5, 0.5]], 1.0, 1 / 3),
        ([UP, [0.5, 0.5, 0.5, 0.5]], None, 0.0),
    ],
)
def test_agreement_between_days(days: list[list[float]], tau: float | None, jaccard: float) -> None:
    told = agreement(np.array(days), threshold=0.5)
    assert told is not None
    assert told["kendall_tau"] == (None if tau is None else pytest.approx(tau))
    assert told["jaccard"] == pytest.approx(jaccard)


def test_one_day_agrees_with_nothing() -> None:
    assert agreement(np.array([UP]), 0.5) is None


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose days 0, 2 and 3 have been searched."""
    sparse = tuple(SparseFeature(f"C{i}", 10) for i in (1, 2, 3))
    write_manifest(tmp_path / "shards", Manifest(Schema("label", ("I1", "I2"), sparse), {}, ()))
    config = from_mapping(
        {
            "name": "run",
            "output": str(tmp_path),
            "data": {"shards": str(tmp_path / "shards"), "search_days": "0,2-3"},
            "embedding": {"dim": 4},
            "space": {"dense_widths": [8], "token_counts": [5], "dense_modules": ["linear", "fm"], "sparse_modules": ["embedded_fc"]},
        },
        where="test",
    )
    write_config(config)
    for day, probabilities in DAYS.items():
        write_day(config.run_folder, day, probabilities)
    return config.run_folder


def write_config(config: Config) -> None:
    config.run_folder.mkdir(exist_ok=True)
    (config.run_folder / "config.toml").write_text(to_toml(config))


def day_file(run: Path, day: int) -> Path:
    return run / "days" / f"day={day:02d}" / "alphas.json"


def write_day(run: Path, day: int, probabilities: list[float], gates: tuple[Gate, ...] = SPACE.gates) -> None:
    path = day_file(run, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In another order than the space's, since a file is a set of gates.
    told = [{"block": g.block, "module": g.module, "alpha": 0.0, "probability": p} for g, p in zip(gates, probabilities, strict=True)]
    path.write_text(json.dumps({"format_version": 1, "day": day, "gates": told[::-1]}))


def test_a_run_is_aggregated_into_its_two_files(run: Path) -> None:
    aggregate_run(run)
    told: dict[str, Any] = json.loads((run / "alphas.json").read_text())
    assert {name: told[name] for name in ("format_version", "method", "days", "threshold")} == {
        "format_version": 1,
        "method": "mean",
        "days": [0, 2, 3],
        "threshold": 0.5,
    }
    assert [(gate["block"], gate["module"]) for gate in told["gates"]] == [(g.block, g.module) for g in SPACE.gates]
    second = told["gates"][3]
    assert second["by_day"] == [0.4, 0.7, 0.3]
    assert second["probability"] == pytest.approx(1.4 / 3)
    assert second["std"] == pytest.approx(np.std([0.4, 0.7, 0.3], ddof=1))
    assert [gate["kept"] for gate in told["gates"]] == [True, False, False, False, True, False]
    # 2/linear at .467 and 2/embedded_fc at .46 are undecided.
    assert told["undecided_share"] == pytest.approx(2 / 6)
    assert told["agreement"] == agreement(np.array(list(DAYS.values())), 0.5)
    found = load_architecture(run / "architecture.json")
    assert found == Architecture(2, 3, 4, (Block.reading((0,), ("linear",), 8), Block.reading((0,), ("fm",), 8)), (1, 2))


def test_aggregating_again_gives_the_same_bytes(run: Path) -> None:
    aggregate_run(run)
    before = [(run / name).read_bytes() for name in ("alphas.json", "architecture.json")]
    aggregate_run(run)
    assert [(run / name).read_bytes() for name in ("alphas.json", "architecture.json")] == before


def test_days_that_rank_nothing_still_leave_valid_json(run: Path) -> None:
    for day in DAYS:
        write_day(run, day, [0.5] * 6)
    aggregate_run(run)
    assert json.loads((run / "alphas.json").read_text())["agreement"] == {"kendall_tau": None, "jaccard": 1.0}
    assert load_architecture(run / "architecture.json").blocks == (Block.reading((0,), ("linear",), 8),)


def remove(path: Path) -> None:
    path.unlink()


def other_space(path: Path) -> None:
    write_day(path.parents[2], 2, DAYS[2][:5], SPACE.gates[:5])


def half_a_file(path: Path) -> None:
    path.write_text(path.read_text()[:40])


def no_gates(path: Path) -> None:
    path.write_text("{}")


def no_number(path: Path) -> None:
    path.write_text(path.read_text().replace("0.8", "null"))


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (remove, "day 2 has not been searched: .*missing; run the search again"),
        (other_space, "is of another search space; remove .*day=02 and run the search again"),
        (half_a_file, "is damaged"),
        (no_gates, "is damaged"),
        (no_number, "is damaged"),
    ],
)
def test_a_day_that_cannot_be_used_is_named_and_nothing_is_written(run: Path, breaks: Callable[[Path], None], message: str) -> None:
    breaks(day_file(run, 2))
    with pytest.raises(ConfigError, match=message) as caught:
        aggregate_run(run)
    assert "day=02" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (run / "alphas.json").exists()
    assert not (run / "architecture.json").exists()
