"""The contract of `recsys_nas.search.strategy`, which every strategy must keep: one row in VARIANTS, all of these tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_nas.cost import dense_flops
from recsys_nas.search.journal import Journal
from recsys_nas.search.loop import Search
from recsys_nas.search.strategy import Budget, NothingFits, SearchError
from recsys_nas.space import SearchSpace, SpaceRules
from tests.recsys_nas.search.fabricated_bench import BUDGET, ONE_OF_EACH, SPACES, VARIANTS, FabricatedBench, run, strategy_of, task

TWO_NETWORKS = SearchSpace(2, 3, 4, SpaceRules(1, (4,), (2,), ("linear",), (), pick="any"))


@pytest.fixture(params=sorted(VARIANTS))
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What all of them judge and choose in another process."""
    command = [sys.executable, "-m", "tests.recsys_nas.search.fabricated_bench", str(tmp_path_factory.mktemp("there"))]
    found: dict[str, list[str]] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def keys(bench: FabricatedBench) -> list[str]:
    return [proposal.architecture.key() for proposal in bench.judged]


class TestContract:
    """What holds for every strategy on every space."""

    def test_it_stays_in_the_space(self, name: str, space: SearchSpace, tmp_path: Path) -> None:
        bench = FabricatedBench(space)
        chosen = run(name, task(space), bench, tmp_path)
        assert bench.judged
        for architecture in (chosen, *(proposal.architecture for proposal in bench.judged)):
            space.check(architecture)
        assert chosen.key() in keys(bench), "what is chosen has been judged"

    def test_the_same_seed_gives_the_same_search_in_another_process(
        self, name: str, elsewhere: dict[str, list[str]], tmp_path: Path
    ) -> None:
        bench = FabricatedBench(ONE_OF_EACH)
        chosen = run(name, task(ONE_OF_EACH), bench, tmp_path)
        assert elsewhere[name] == [*keys(bench), chosen.key()]

    def test_another_seed_gives_another_search(self, name: str, tmp_path: Path) -> None:
        benches = [FabricatedBench(SPACES["one_of_each"]) for _ in range(2)]
        for seed, bench in enumerate(benches):
            run(name, task(SPACES["one_of_each"], seed), bench, tmp_path / str(seed))
        assert keys(benches[0]) != keys(benches[1])

    def test_it_stops_at_the_budget_and_uses_it(self, name: str, space: SearchSpace, tmp_path: Path) -> None:
        of = task(space)
        training = strategy_of(name, of).supernet()
        bench = FabricatedBench(space)
        run(name, of, bench, tmp_path)
        rows = sum(proposal.rows for proposal in bench.judged) + (training.rows if training else 0)
        assert rows <= BUDGET.rows
        assert rows > BUDGET.rows * 0.6 or training is None or not any(proposal.rows for proposal in bench.judged)

    def test_seconds_end_it_too(self, name: str, tmp_path: Path) -> None:
        of = task(SPACES["independent"], budget=Budget(BUDGET.rows, seconds=7.5))
        ticks = iter(range(10_000))
        bench = FabricatedBench(of.space)
        journal = Journal(tmp_path / "trials.jsonl", {})
        _, spent = Search(strategy_of(name, of), of, bench, journal, clock=lambda: float(next(ticks))).run()
        supernet = 1.0 if bench.trained else 0.0
        assert spent.seconds == pytest.approx(8.0)
        assert len(bench.judged) == 8 - supernet, "each judgement takes one second by this clock"

    def test_killed_and_run_again_it_ends_the_same(self, name: str, space: SearchSpace, tmp_path: Path) -> None:
        whole = FabricatedBench(space)
        chosen = run(name, task(space), whole, tmp_path / "whole")
        killed = FabricatedBench(space, kill_at=len(whole.judged) // 2)
        with pytest.raises(KeyboardInterrupt):
            run(name, task(space), killed, tmp_path / "killed")
        with (tmp_path / "killed" / "trials.jsonl").open("a") as file:
            file.write('{"key": "cut off')
        resumed = FabricatedBench(space)
        assert run(name, task(space), resumed, tmp_path / "killed") == chosen
        assert keys(killed) + keys(resumed) == keys(whole), "nothing is judged again, nothing is left out"

    def test_it_survives_a_failed_trial(self, name: str, space: SearchSpace, tmp_path: Path) -> None:
        bench = FabricatedBench(space, fail_at=1)
        chosen = run(name, task(space), bench, tmp_path)
        assert len(bench.judged) > 2
        lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()[1:]]
        assert [line["failed"] for line in lines[:3]] == ["", "out of memory", ""]
        assert chosen.key() != bench.judged[1].architecture.key() or keys(bench).count(chosen.key()) > 1

    def test_it_respects_the_cost_target(self, name: str, space: SearchSpace, tmp_path: Path) -> None:
        of = task(space)
        generator = strategy_of("random", of)
        costs = sorted(dense_flops(proposal.architecture) for _ in range(20) if (proposal := generator.ask()))
        of = task(space, max_flops=costs[8])
        bench = FabricatedBench(space)
        chosen = run(name, of, bench, tmp_path)
        for architecture in (chosen, *(proposal.architecture for proposal in bench.judged)):
            assert dense_flops(architecture) <= costs[8]

    def test_nothing_fits_is_said_in_one_line(self, name: str, space: SearchSpace, tmp_path: Path) -> None:
        with pytest.raises(
            NothingFits, match=r"^no network of at most 1 FLOPs in 1000 draws, the cheapest has [\d,]+: .*trials\.max_flops"
        ):
            run(name, task(space, max_flops=1), FabricatedBench(space), tmp_path)

    def test_a_space_that_is_used_up_ends_it(self, name: str, tmp_path: Path) -> None:
        bench = FabricatedBench(TWO_NETWORKS)
        chosen = run(name, task(TWO_NETWORKS), bench, tmp_path)
        assert TWO_NETWORKS.contains(chosen)
        assert len(set(keys(bench))) == 1

    def test_when_all_fail_it_says_why(self, name: str, tmp_path: Path) -> None:
        class Broken(FabricatedBench):
            def loss(self, architecture: object) -> float:
                return float("nan") if self.judged else 0.5

        with pytest.raises(SearchError, match=r"20 networks in a row|no network could be judged"):
            run(name, task(SPACES["one_of_each"]), Broken(SPACES["one_of_each"]), tmp_path)

    def test_it_sums_itself_up_in_numbers(self, name: str, tmp_path: Path) -> None:
        of = task(SPACES["one_of_each"])
        strategy = strategy_of(name, of)
        Search(strategy, of, FabricatedBench(of.space), Journal(tmp_path / "trials.jsonl", {}), clock=lambda: 0.0).run()
        assert all(isinstance(value, (int, float)) for value in strategy.summary().values())

    def test_no_network_is_judged_twice_in_the_same_way(self, name: str, space: SearchSpace, tmp_path: Path) -> None:
        bench = FabricatedBench(space)
        run(name, task(space), bench, tmp_path)
        judged = [(p.architecture.key(), p.fidelity, p.settings) for p in bench.judged]
        assert len(set(judged)) == len(judged)

    def test_it_finds_better_than_the_median_network(self, name: str, tmp_path: Path) -> None:
        space = SPACES["one_of_each"]
        bench = FabricatedBench(space)
        draws = strategy_of("random", task(space, seed=99))
        losses = sorted(bench.loss(p.architecture) for _ in range(200) if (p := draws.ask()))
        assert bench.loss(run(name, task(space), bench, tmp_path)) < losses[60]


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    space = SPACES["independent"]
    run("random", task(space), FabricatedBench(space), tmp_path)
    with pytest.raises(SearchError, match="is of a search with other settings; remove"):
        run("evolution", task(space), FabricatedBench(space), tmp_path)
    with pytest.raises(SearchError, match="holds trials that this program would not have made"):
        run("random", task(space), FabricatedBench(space), tmp_path, rows_per_trial=50)


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    space = SPACES["independent"]
    run("random", task(space), FabricatedBench(space), tmp_path)
    path = tmp_path / "trials.jsonl"
    path.write_text(path.read_text().replace('"fidelity"', '"fid"', 1))
    with pytest.raises(SearchError, match=r"trials\.jsonl is damaged .*remove"):
        run("random", task(space), FabricatedBench(space), tmp_path)
