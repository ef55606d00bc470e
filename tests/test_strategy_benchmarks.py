"""What benchmarks/strategies.py plans and says of its records, without training anything."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks import strategies
from benchmarks.strategies import Bench, again, planned, table, trained_again
from benchmarks.strategy_data import Records, uniform_networks
from benchmarks.strategy_ranking import JUDGES, SPACES, rank_row
from recsys_nas.config import load_config
from recsys_nas.cost import dense_flops
from recsys_nas.jobs.environment import Ranks
from recsys_nas.search import controls
from recsys_nas.space import Architecture, space_from_config

CONFIG = load_config(Path(__file__).parents[1] / "configs" / "demo.toml")
SPACE = space_from_config(CONFIG.space, 13, 26, 8)


@pytest.fixture
def bench(tmp_path: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> Bench:
    class Opened:
        @staticmethod
        def space() -> Any:
            return SPACE

    monkeypatch.setattr(strategies, "open_run", lambda config: Opened())
    return Bench("demo", CONFIG, Records(tmp_path / "records.jsonl"), ranks, math.inf)


def found(bench: Bench, strategy: str, seed: int, auc: float, network: Architecture) -> None:
    spent = {"search_rows": 1000, "search_seconds": 2.0, "search_cpu_seconds": 1.0, "logloss": 0.5}
    line = {"data": "demo", "kind": "found", "strategy": strategy, "seed": seed, "auc": auc, "dense_flops": dense_flops(network)}
    bench.records.add(line | spent | {"key": network.key(), "architecture": network.to_json()})


def chance(bench: Bench, flops: float, *aucs: float) -> None:
    for number, auc in enumerate(aucs):
        bench.records.add({"data": "demo", "kind": "cloud", "seed": 0, "key": f"{flops}-{number}", "auc": auc, "dense_flops": flops})


def test_controls_lie_at_the_flops_of_what_was_found_and_serve_all_that_they_are_near_to(bench: Bench) -> None:
    generator = Random(5)
    network = next(a for a in iter(lambda: SPACE.sample(generator), None) if 200_000 < dense_flops(a) < 250_000)
    found(bench, "dnas", 0, 0.8, network)
    first = planned(bench, 10)
    assert first[: strategies.UNIFORM] == uniform_networks(SPACE, strategies.UNIFORM)
    near = [a for a in first if abs(dense_flops(a) - dense_flops(network)) <= 0.1 * dense_flops(network)]
    assert len([a for a in near if a.key() != network.key()]) == 10, "with those of the uniform ones that happen to lie there"
    found(bench, "random", 0, 0.8, network)
    assert planned(bench, 10) == first, "the same network again asks for nothing new"
    found(bench, "zero_cost", 0, 0.8, next(a for a in iter(lambda: SPACE.sample(generator), None) if 100_000 < dense_flops(a) < 150_000))
    first = planned(bench, 10)
    found(bench, "dnas", 1, 0.8, next(a for a in iter(lambda: SPACE.sample(generator), None) if 160_000 < dense_flops(a) < 190_000))
    assert planned(bench, 10)[: len(first)] == first, "one more seed comes after"


def test_at_the_small_end_of_a_space_there_are_no_controls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "MAX_TRIES", 500)
    found(bench, "dnas", 0, 0.8, SPACE.architecture(SPACE.gates[3:4]))
    assert planned(bench, 10) == uniform_networks(SPACE, strategies.UNIFORM)


def test_the_table_compares_with_random_seed_by_seed_and_with_chance_at_equal_flops(bench: Bench) -> None:
    network = SPACE.full()
    flops = dense_flops(network)
    for seed, (mine, theirs) in enumerate(((0.80, 0.79), (0.82, 0.79))):
        found(bench, "dnas", seed, mine, network)
        found(bench, "random", seed, theirs, network)
    chance(bench, 1.05 * flops, *[0.78] * 5, *[0.81] * 5)
    chance(bench, 1.2 * flops, *[0.9] * 20)
    header, _, dnas, random = table(bench, ("dnas", "random"), bench.found).splitlines()
    assert header.startswith("| strategy | seeds |")
    cells = [cell.strip() for cell in dnas.strip("|").split("|")]
    # t at one degree of freedom is 12.706, the standard errors .01 of both AUC and difference
    assert cells[:4] == ["`dnas`", "2", "0.81000 ± 0.12706", "+0.02000 ± 0.12706"]
    assert cells[8].startswith("75 ±"), "ahead of half of them, then of all"
    assert [cell.strip() for cell in random.strip("|").split("|")][3] == ""


def test_too_few_random_networks_give_no_place(bench: Bench) -> None:
    found(bench, "random", 0, 0.8, SPACE.full())
    chance(bench, dense_flops(SPACE.full()), *[0.7] * 9)
    assert table(bench, ("random",), bench.found).splitlines()[-1].endswith("| 1,000 | 1 |  |")


def test_what_was_found_is_trained_again_once_and_judged_by_that(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = dict.fromkeys(("auc_row_ci95", "ne", "dense_flops", "dense_params", "test_rows", "train_rows", "train_seconds"), 1.0)
    trained: list[tuple[str, int]] = []

    def train(config: object, network: Architecture, seed: int, ranks: Ranks) -> dict[str, float]:
        trained.append((network.key(), seed))
        return figures | {"auc": 0.6, "logloss": 0.4}

    monkeypatch.setattr(strategies, "train_alone", train)
    for seed in (4, 5):
        found(bench, "dnas", seed, 0.8, SPACE.full())
    found(bench, "random", 4, 0.9, SPACE.architecture(SPACE.gates[3:4]))
    assert trained_again(bench) == []
    for _ in range(2):
        again(bench, (0, 1))
    assert sorted(trained) == sorted([(SPACE.full().key(), 0), (SPACE.architecture(SPACE.gates[3:4]).key(), 0)])
    assert [(r["strategy"], r["seed"], r["auc"], r["logloss"]) for r in trained_again(bench)] == [
        ("dnas", 4, 0.6, 0.4), ("random", 4, 0.6, 0.4), ("dnas", 5, 0.6, 0.4),
    ]  # fmt: skip


def test_records_survive_a_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    Records(path).add({"kind": "a", "seed": 1})
    with path.open("a") as file:
        file.write('{"kind": "b"')
    records = Records(path)
    assert [record["kind"] for record in records.all] == ["a"]
    assert records.of(kind="a", seed=1)
    assert not records.of(kind="a", seed=2)
    assert json.loads(path.read_text().splitlines()[0])["date"]


def test_a_rank_correlation_has_its_mean_over_seeds_and_an_interval_over_networks() -> None:
    alone = [0.1 * number for number in range(20)]
    row = rank_row("gates", "a judge", [alone, alone[::-1]], alone)
    assert row.startswith("| gates | a judge | 2 | +0.00 (+0.00 to +0.00) | -1.00 to +1.00 |")
    noisy = [value + (0.8 if number % 3 == 0 else 0.0) for number, value in enumerate(alone)]
    low, high = rank_row("gates", "a judge", [noisy], alone).split("(")[1].split(")")[0].split(" to ")
    assert 0.2 < float(low) < float(high) < 1.0


def test_every_technique_is_switched_off_in_turn() -> None:
    judges = {judge.name: judge for judge in JUDGES if judge.space != "gates"}
    whole = judges["one-shot"].sampler(SPACE, 0)
    assert (whole.single, whole.full_share) == (True, 0.1)  # type: ignore[attr-defined]
    assert judges["paths drawn uniformly"].sampler(SPACE, 0).single is False  # type: ignore[attr-defined]
    assert judges["no full-path warm-up"].sampler(SPACE, 0).full_share == 0.0  # type: ignore[attr-defined]
    changed = set(SPACES["unbalanced"]) - set(SPACES["nasrec"])
    assert changed == {'space.dense_modules=["linear", "dot_product"]'}
    assert "untuned" in judges["one-shot"].ways
    assert [judge.name for judge in JUDGES if judge.baseline] == ["policy, co-trained baseline"]
