"""Strategies compared: the same days and budget for each, one outcome a seed, and nothing done twice."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from recsys_nas.cli import main
from recsys_nas.config import load_config
from recsys_nas.jobs import compare_strategies as module
from recsys_nas.jobs import environment
from recsys_nas.jobs.compare_strategies import Outcome, compare_strategies, table, write_outcomes
from recsys_nas.jobs.environment import Ranks
from recsys_nas.report.strategies_figure import strategies_svg


def test_each_strategy_ends_in_figures_and_is_not_run_again(run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(run_folder / "config.toml")
    config = replace(config, trials=replace(config.trials, rows_per_trial=512, population=4, tournament=2, judgements=4))
    first = list(compare_strategies(config, ("dnas", "random"), (0,), ranks))
    assert [(outcome.strategy, outcome.seed) for outcome in first] == [("dnas", 0), ("random", 0)]
    assert all(0.4 < outcome.auc < 1 and outcome.dense_flops > 0 for outcome in first)
    assert all(outcome.search_cpu_seconds > 0 for outcome in first)
    assert all(3000 < outcome.search_rows <= 2 * 2048 for outcome in first), "two days of 2,048 rows for each"
    result = run_folder.parent / "run-random-seed=0" / "retrain" / "found" / "seed=0" / "result.json"
    assert json.loads(result.read_text())["auc"] == first[1].auc

    monkeypatch.setattr(module, "combine_run", lambda folder: True)
    (run_folder.parent / "run-random-seed=0" / "days" / "day=00" / "trials.jsonl").unlink()
    assert list(compare_strategies(config, ("dnas", "random"), (0,), ranks)) == first
    with pytest.raises(ValueError, match="is of another config; remove"):
        list(compare_strategies(replace(config, search=replace(config.search, batch_size=64)), ("random",), (0,), ranks))


def test_the_table_has_means_over_seeds_the_best_first(tmp_path: Path) -> None:
    outcomes = [
        Outcome("random", 0, 0.70, 0.50, 100, 1000, 2.0, 1.5),
        Outcome("random", 1, 0.72, 0.48, 300, 1000, 4.0, 2.5),
        Outcome("dnas", 0, 0.80, 0.40, 50, 1000, 1.0, 0.5),
    ]
    lines = table(outcomes).splitlines()
    assert lines[1].split() == ["dnas", "0.8000", "0.4000", "50", "1,000", "1.0", "0.5", "1"]
    # t at one degree of freedom is 12.706, the standard error .01
    assert lines[2].split() == ["random", "0.7100", "+-", "0.1271", "0.4900", "200", "1,000", "3.0", "2.0", "2"]
    write_outcomes(tmp_path / "out.json", outcomes)
    assert len(json.loads((tmp_path / "out.json").read_text())["outcomes"]) == 3


def test_the_verb_writes_figures_and_a_picture_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [
        Outcome("random", 0, 0.70, 0.50, 100, 1000, 2.0, 1.5),
        Outcome("random", 1, 0.72, 0.48, 300, 1000, 4.0, 2.5),
        Outcome("dnas", 0, 0.80, 0.40, 50, 900, 1.0, 0.5),
    ]
    monkeypatch.setattr(module, "compare_strategies", lambda *_: iter(outcomes))
    monkeypatch.setattr(environment, "process_group", nullcontext)
    config = Path(__file__).parents[3] / "configs" / "demo.toml"
    assert main(["compare-strategies", "--config", str(config), "--set", f'output="{tmp_path}"']) == 0
    assert len(json.loads((tmp_path / "demo-strategies.json").read_text())["outcomes"]) == 3
    picture = (tmp_path / "demo-strategies.svg").read_text()
    for text in ("random", "dnas", "rows that the search trained on", "search, processor seconds", "test AUC"):
        assert text in picture
    assert picture == strategies_svg([asdict(outcome) for outcome in outcomes])


@pytest.mark.parametrize("repeated", [["--seeds", "0", "0"], ["--seeds", "-1"], ["--strategies", "random", "random"]])
def test_a_seed_named_twice_is_no_more_evidence(repeated: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[3] / "configs" / "demo.toml"
    assert main(["compare-strategies", "--config", str(config), *repeated]) == 2
    assert "each" in capsys.readouterr().err


def test_a_search_that_kept_noise_is_told(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "search_day", lambda *_: None)
    monkeypatch.setattr(module, "combine_run", lambda folder: False)
    monkeypatch.setattr(module, "retrain", lambda *_: pytest.fail("far enough"))
    with pytest.raises(pytest.fail.Exception, match="far enough"):
        list(compare_strategies(load_config(run_folder / "config.toml"), ("dnas",), (3,), ranks))
    assert "warning: dnas, seed 3: a decoy survived" in capsys.readouterr().err


def test_the_picture_has_a_faint_mark_a_seed_where_there_are_several() -> None:
    def marks(*seeds: int) -> int:
        picture = strategies_svg([asdict(Outcome("dnas", seed, 0.7 + seed / 10, 0.5, 50, 900, 1.0, 0.5)) for seed in seeds])
        return picture.count("opacity: 0.35")

    assert marks(0) == 0
    assert marks(0, 1, 2) >= 2 * 3, "in each of the two panels"
