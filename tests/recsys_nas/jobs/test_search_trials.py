"""A day searched trial by trial: what it leaves behind, exact resume, and the days made into one architecture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from recsys_nas.config import ConfigError
from recsys_nas.jobs import assembly
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.day_bench import DayBench, Split
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.frozen_supernet import FrozenRows
from recsys_nas.jobs.search_day import search_day
from recsys_nas.search.combine_days import combine_run
from recsys_nas.search.path_sampling import LearntPaths, SampledPaths
from recsys_nas.search.strategies import STRATEGIES
from recsys_nas.search.strategy import Proposal, SupernetTraining
from recsys_nas.space import load_architecture
from tests.recsys_nas.jobs.conftest import set_options, write_run

TRIALS = "rows_per_trial = 512\npopulation = 4\ntournament = 2\nchildren = 2\nfinalists = 2\nrows = 3072\njudgements = 24\n"


def run_of(folder: Path, strategy: str, trials: str = TRIALS) -> Run:
    path = folder / "config.toml"
    text = path.read_text().replace('strategy = "dnas"', f'strategy = "{strategy}"')
    begin, _, rest = text.partition("[trials]\n")
    _, _, rest = rest.partition("\n\n")
    path.write_text(f"{begin}[trials]\n{trials}\n{rest}")
    return Run.open(folder)


def result(run: Run, day: int = 0) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run.folder / "days" / f"day={day:02d}" / "search.json").read_text())
    return value


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    def plain(trial: dict[str, Any]) -> dict[str, Any]:
        figures = {name: value for name, value in trial["figures"].items() if name not in ("seconds", "cpu_seconds")}
        return {name: value for name, value in trial.items() if name not in ("seconds", "cpu_seconds")} | {"figures": figures}

    return {name: value for name, value in record.items() if name not in ("seconds", "cpu_seconds")} | {
        "trials": [plain(t) for t in record["trials"]]
    }


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_day_ends_in_an_architecture_records_and_events(run_folder: Path, ranks: Ranks, strategy: str) -> None:
    run = run_of(run_folder, strategy)
    search_day(run, 0, ranks)
    record, folder = result(run), run_folder / "days" / "day=00"
    assert record["rows"] <= 3072
    assert record["key"] in {trial["key"] for trial in record["trials"] if trial["finalist"]}
    assert sum(trial["rows"] for trial in record["trials"]) <= record["rows"]
    trained = [trial["figures"] for trial in record["trials"] if trial["fidelity"] == "trained"]
    assert all(0.3 < figures["loss"] < 0.8 and 0.4 < figures["auc"] < 1 for figures in trained)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["total_rows"] == 3072
    assert list(folder.glob("events.out.tfevents*"))
    combine_run(run_folder, [0])
    assert load_architecture(run_folder / "architecture.json").key() == record["key"]


def test_of_slow_trials_the_user_is_told_once(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assembly._warn_once.cache_clear()
    set_options(run_folder, "search", precision="bfloat16")
    search_day(run_of(run_folder, "random"), 0, ranks)
    assert capsys.readouterr().err.count("thirty times slower") == 1


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_killed_and_run_again_it_gives_the_same_result(
    tmp_path: Path, ranks: Ranks, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        runs.append(run_of(write_run(tmp_path / name), strategy))
    search_day(runs[0], 0, ranks)
    judge = DayBench.judge
    seen = 0

    def die_at_the_fourth(self: DayBench, proposal: Proposal) -> Any:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise KeyboardInterrupt
        return judge(self, proposal)

    with monkeypatch.context() as patch:
        patch.setattr(DayBench, "judge", die_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            search_day(runs[1], 0, ranks)
    assert not (runs[1].folder / "days" / "day=00" / "search.json").exists()
    search_day(runs[1], 0, ranks)
    assert without_times(result(runs[1])) == without_times(result(runs[0]))


def test_a_trial_alone_learns_the_planted_pair(run_folder: Path, ranks: Ranks) -> None:
    run = run_of(run_folder, "random")
    bench = DayBench(run, 0, ranks, run_folder / "days" / "day=00")
    full = run.space().full()
    few, many = (bench.judge(Proposal(full, "trained", rows)) for rows in (256, 16_384))
    assert many["loss"] < few["loss"] - 0.02
    assert many["auc"] > few["auc"]
    assert few["seconds"] < many["seconds"]
    assert bench.judge(Proposal(full, "trained", 256))["loss"] == few["loss"], "the same rows, the same weights at the start"


def test_validation_rows_are_never_trained_on(run_folder: Path, ranks: Ranks) -> None:
    bench = DayBench(run_of(run_folder, "random"), 0, ranks, run_folder)
    assert bench.split == Split((0, 1843), (1843, 2048))
    first, end = bench.split.validation
    starts = {int(start) for start in bench.training_reader(10_000)._starts}
    assert max(starts) + 128 <= first
    assert (int(bench.validation_reader()._starts[0]), bench.validation_reader().total_rows) == (first, end - first)


def test_a_day_that_is_too_short_is_named(run_folder: Path, ranks: Ranks) -> None:
    run = run_of(run_folder, "random", TRIALS + "validation_share = 0.99\n")
    with pytest.raises(ConfigError, match="day 0 has 2048 rows, 2028 of them for validation: fewer than one batch of 128 is left"):
        search_day(run, 0, ranks)


def test_nothing_fits_is_one_line_that_names_day_and_strategy(run_folder: Path, ranks: Ranks) -> None:
    with pytest.raises(ConfigError, match=r"^day 0, search\.strategy = 'random': no network of at most 1 FLOPs"):
        search_day(run_of(run_folder, "random", TRIALS + "max_flops = 1\n"), 0, ranks)


def test_a_supernet_killed_in_training_goes_on_from_its_checkpoint(tmp_path: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = TRIALS.replace("judgements = 24", "judgements = 4") + 'path_sampling = "policy"\nreward_baseline = true\nfinetune_rows = 256\n'
    runs = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        runs.append(run_of(write_run(tmp_path / name), "one_shot", trials))
    search_day(runs[0], 0, ranks)
    learn = LearntPaths.learn
    steps: list[int] = []

    def die_once_at_twelve(self: LearntPaths, step: int, reward: float) -> None:
        if step == 12 and step not in steps:
            steps.append(step)
            raise KeyboardInterrupt
        steps.append(step)
        learn(self, step, reward)

    monkeypatch.setattr(LearntPaths, "learn", die_once_at_twelve)
    with pytest.raises(KeyboardInterrupt):
        search_day(runs[1], 0, ranks)
    search_day(runs[1], 0, ranks)
    assert steps[13:] == list(range(10, 16)), "half of the 24 steps were left for the finalists; checkpoints are every 5"
    assert without_times(result(runs[1])) == without_times(result(runs[0]))


def test_a_supernet_trains_and_its_tuned_last_layer_fits_better(run_folder: Path, ranks: Ranks) -> None:
    run = run_of(run_folder, "one_shot", TRIALS + "finetune_rows = 0\nvalidation_rows = 512\nvalidation_share = 0.5\n")
    losses = {}
    for name, tuned in (("plain", run), ("tuned", with_trials(run, finetune_rows=1024))):
        bench = DayBench(tuned, 0, ranks, run_folder / name)
        bench.train_supernet(SupernetTraining(16_384, SampledPaths(run.space(), 0, 0.1, single=True)))
        drawn = [run.space().sample(Random(seed)) for seed in range(6)]
        losses[name] = [bench.judge(Proposal(member, "shared"))["loss"] for member in drawn]
    assert sum(losses["tuned"]) < sum(losses["plain"])
    assert len(set(losses["plain"])) == 6
    assert min(losses["tuned"]) < 0.66, "always predicting the click rate gives 0.66"


def test_proxies_alone_train_nothing(run_folder: Path, ranks: Ranks) -> None:
    trials = TRIALS.replace("finalists = 2", "finalists = 0") + 'proxy_searcher = "superproxy"\nproxy_warmup_share = 0.0\n'
    search_day(run_of(run_folder, "zero_cost", trials), 0, ranks)
    record = result(run_of(run_folder, "zero_cost", trials))
    assert record["rows"] == 0
    assert {trial["fidelity"] for trial in record["trials"]} == {"scored"}
    assert [trial["key"] for trial in record["trials"] if trial["finalist"]] == [record["key"]]
    scores = {trial["key"]: -trial["value"] for trial in record["trials"]}
    assert record["key"] == max(scores, key=lambda key: scores[key])
    figures = record["trials"][0]["figures"]
    assert scores[record["trials"][0]["key"]] == pytest.approx(figures["zico"] + figures["fisher_rao"]), "SiGeo's weights without warm-up"


def with_trials(run: Run, **changes: Any) -> Run:
    return replace(run, config=replace(run.config, trials=replace(run.config.trials, **changes)))


def test_a_journal_of_another_search_is_one_line(run_folder: Path, ranks: Ranks) -> None:
    run = run_of(run_folder, "random")
    journal = run_folder / "days" / "day=00" / "trials.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("{}\n")
    with pytest.raises(ConfigError, match=r"^day 0, search.strategy = 'random': .*trials.jsonl is"):
        search_day(run, 0, ranks)


@pytest.mark.parametrize(("rows", "sizes"), [(8, [8]), (9, [5, 4]), (17, [6, 6, 5])])
def test_chunks_are_of_about_equal_sizes(rows: int, sizes: list[int]) -> None:
    """One of a single row could not be batch-normalised."""
    every = FrozenRows(torch.arange(rows).view(-1, 1), torch.zeros(rows, 2, 3), torch.zeros(rows))
    chunks = list(every.chunks(8))
    assert [len(chunk.labels) for chunk in chunks] == sizes
    assert torch.equal(torch.cat([chunk.dense for chunk in chunks]), every.dense)
