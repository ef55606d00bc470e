"""A day's search: what it leaves behind, exact resume, two ranks as one, gates that rest and gates that close."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep import paths
from data_prep.paths import register_handler
from recsys_nas.config import ConfigError
from recsys_nas.jobs import search_day as searching
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.search_day import search_day, search_in_sequence
from recsys_nas.search.dnas import GatedNetwork
from recsys_nas.search.objective import CostAware
from recsys_nas.space import load_architecture
from recsys_nas.training.reader import Batch
from recsys_nas.training.trainer import Trainer
from tests.data_prep.folder_handler import FolderHandler
from tests.recsys_nas.jobs.conftest import set_options, write_run


def alphas(folder: Path, day: int = 0) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "days" / f"day={day:02d}" / "alphas.json").read_text())
    return value


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in ("seconds", "cpu_seconds", "train_seconds", "rows_per_second", "learning_curve")}


def test_a_day_ends_in_gates_records_and_events(run_folder: Path, ranks: Ranks) -> None:
    search_day(Run.open(run_folder), 0, ranks)
    record, folder = alphas(run_folder), run_folder / "days" / "day=00"
    assert (record["rows"], record["steps"], record["day"]) == (2048, 16, 0)
    assert [(gate["block"], gate["module"]) for gate in record["gates"]][:2] == [(1, "linear"), (1, "fm")]
    assert all(gate["probability"] == pytest.approx(float(torch.sigmoid(torch.tensor(gate["alpha"])))) for gate in record["gates"])
    assert any(gate["alpha"] != 0 for gate in record["gates"])
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["rows"], last["total_rows"]) == (16, 2048, 2048)
    assert list(folder.glob("events.out.tfevents*"))
    assert sorted(path.name for path in (folder / "checkpoint").iterdir()) == ["step=00000015", "step=00000016"]
    assert json.loads((folder / "plan.json").read_text())["tables"][0]["sharding"] == "table_wise"


def test_a_day_fetched_from_a_store_gives_the_same_result(tmp_path: Path, ranks: Ranks) -> None:
    """Only its own day comes to this machine."""
    here, there = write_run(tmp_path), tmp_path / "there"
    search_day(Run.open(here), 1, ranks)
    there.mkdir()
    text = (here / "config.toml").read_text().replace('staging = ""', f'staging = "{tmp_path}/scratch"')
    (there / "config.toml").write_text(text.replace(f"{tmp_path}/shards", "test://shards"))
    register_handler(FolderHandler(tmp_path))
    try:
        with Run.open(there).staged([1]) as run:
            search_day(run, 1, ranks)
    finally:
        paths._handlers.clear()
        paths._manager.cache_clear()
    assert without_times(alphas(there, 1)) == without_times(alphas(here, 1))
    assert [path.name for path in (tmp_path / "scratch").glob("*/day=??")] == ["day=01"]


COMPUTATIONS = [
    pytest.param({}, id="plain"),
    pytest.param({"precision": "bfloat16"}, id="bfloat16"),
    pytest.param({"precision": "bfloat16", "compile": True}, id="compiled", marks=pytest.mark.slow),
]
"""How the dense half may compute, by options of its section."""
PASSES = [
    pytest.param({"epochs": 4, "batch_size": 512, "dropout": 0.4, "shuffle": "rows"}, id="passes"),
    pytest.param({"epochs": 4, "batch_size": 512, "shuffle": "rows", "levels": "alternating", "alpha_steps_share": 0.4}, id="held out"),
]
"""Sixteen steps in all, as one pass has in small batches."""


@pytest.mark.parametrize("options", COMPUTATIONS + PASSES)
def test_an_interrupted_day_resumes_to_the_same_result_bit_for_bit(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    set_options(run_folder, "search", **options)
    search_day(Run.open(run_folder), 0, ranks)
    undisturbed = without_times(alphas(run_folder))
    shutil.rmtree(run_folder / "days")

    class Killed(BaseException):
        """Stands in for SIGKILL: nothing may catch it."""

    before_update = CostAware.before_update

    def die_at_twelve(self: CostAware, step: int) -> None:
        if step == 12:
            raise Killed
        before_update(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(CostAware, "before_update", die_at_twelve)
        with pytest.raises(Killed):
            search_day(Run.open(run_folder), 0, ranks)
    folder = run_folder / "days" / "day=00"
    assert not (folder / "alphas.json").exists()
    (folder / "checkpoint" / "writing-00000015").mkdir()  # as a kill while saving would leave it
    steps = []

    def count(self: CostAware, step: int) -> None:
        steps.append(step)
        before_update(self, step)

    monkeypatch.setattr(CostAware, "before_update", count)
    search_day(Run.open(run_folder), 0, ranks)
    assert steps == list(range(10, 16)), "the checkpoint of step 10 was not used"
    assert without_times(alphas(run_folder)) == undisturbed


def test_the_seconds_of_an_attempt_that_was_killed_are_counted(run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Trainer.__init__

    def begun_long_ago(self: Trainer, *arguments: Any) -> None:
        made(self, *arguments)
        self._made -= 1000

    def die(network: GatedNetwork) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "__init__", begun_long_ago)
        patch.setattr(searching, "_alone", lambda run, network: die(network))
        with pytest.raises(KeyboardInterrupt):
            search_day(Run.open(run_folder), 0, ranks)
    search_day(Run.open(run_folder), 0, ranks)
    assert 1000 < alphas(run_folder)["seconds"] < 2000


def test_on_a_longer_day_shares_are_of_the_schedule(run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gates rest for half of 6 steps, not of 12, and the temperature has come to its end after 6."""
    set_options(run_folder, "search", epochs=3, batch_size=512, warmup_share=0.5, settle_share=0.0, schedule_steps=6, final_temperature=0.5)
    rested, temperatures = [], []
    before_update = CostAware.before_update

    def note(self: CostAware, step: int) -> None:
        before_update(self, step)
        rested.append(self.network.alphas.grad is None)
        temperatures.append(self.network.gating.temperature_at(step))

    monkeypatch.setattr(CostAware, "before_update", note)
    search_day(Run.open(run_folder), 0, ranks)
    assert rested == [True] * 3 + [False] * 9
    assert [temperature == 0.5 for temperature in temperatures] == [False] * 6 + [True] * 6


def test_passes_are_shuffled_anew_and_the_gates_rest_for_their_share_of_the_whole(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_options(run_folder, "search", epochs=3, batch_size=512, warmup_share=0.5, shuffle="rows", settle_share=0.0)
    passes, rested = [], []
    before_update, steps_of = CostAware.before_update, Trainer._batches

    def note(self: CostAware, step: int) -> None:
        before_update(self, step)
        rested.append(self.network.alphas.grad is None)

    def labels(self: Trainer, end: int) -> Iterator[Batch]:
        for batch in steps_of(self, end):
            passes.append(batch.labels.clone())
            yield batch

    monkeypatch.setattr(CostAware, "before_update", note)
    monkeypatch.setattr(Trainer, "_batches", labels)
    search_day(Run.open(run_folder), 0, ranks)
    assert rested == [True] * 6 + [False] * 6
    record = alphas(run_folder)
    assert (record["steps"], record["rows"], record["rows_of_day"]) == (12, 3 * 2048, 3 * 2048)
    of_pass = [torch.cat(passes[start : start + 4]) for start in (0, 4, 8)]
    assert len({tuple(labels.tolist()) for labels in of_pass}) == 3
    assert len({float(labels.sum()) for labels in of_pass}) == 1, "the same rows"


def test_in_several_passes_gates_are_moved_by_rows_that_no_weight_has_seen(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_options(run_folder, "search", epochs=5, shuffle="rows", levels="alternating", alpha_steps_share=0.25, warmup_share=0.1)
    seen: dict[bool, set[bytes]] = {True: set(), False: set()}
    steps_of = Trainer._batches

    def note(self: Trainer, end: int) -> Iterator[Batch]:
        network = self.parts.tables.model.module.get_submodule("network")
        assert isinstance(network, GatedNetwork)
        for batch in steps_of(self, end):
            seen[network.gating.moves(batch.index)[1]].update(row.numpy().tobytes() for row in batch.dense)
            yield batch

    monkeypatch.setattr(Trainer, "_batches", note)
    search_day(Run.open(run_folder), 0, ranks)
    assert seen[True]
    assert not seen[True] & seen[False]
    assert len(seen[True]) == pytest.approx(len(seen[False]) / 3, rel=0.05)
    with pytest.raises(ConfigError, match="holds out rows of one day"):
        search_in_sequence(Run.open(run_folder), ranks)


def test_a_finished_day_is_left_alone(run_folder: Path, ranks: Ranks) -> None:
    (run_folder / "days" / "day=00").mkdir(parents=True)
    (run_folder / "days" / "day=00" / "alphas.json").write_text("{}")
    search_day(Run.open(run_folder), 0, ranks)
    assert alphas(run_folder) == {}


def test_gates_rest_while_the_weights_warm_up_and_cost_pushes_them_down(run_folder: Path, ranks: Ranks) -> None:
    config = run_folder / "config.toml"
    config.write_text(config.read_text().replace("warmup_share = 0.3", "warmup_share = 0.99"))
    search_day(Run.open(run_folder), 0, ranks)
    warm = [gate["alpha"] for gate in alphas(run_folder)["gates"]]
    assert all(abs(alpha) < 0.04 for alpha in warm), "only the last step may move a gate"
    shutil.rmtree(run_folder / "days")
    config.write_text(
        config.read_text().replace("warmup_share = 0.99", "warmup_share = 0.0").replace("cost_weight = 0.01", "cost_weight = 100.0")
    )
    search_day(Run.open(run_folder), 0, ranks)
    assert all(gate["alpha"] < -0.1 for gate in alphas(run_folder)["gates"]), "with a price this high every gate closes"


def change(run: Path, *changes: tuple[str, str]) -> None:
    """Set other values in the run's config."""
    config = run / "config.toml"
    text = config.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)


AT_ONCE = (("settle_share = 0.2", "settle_share = 0.05"), ("settle_tolerance = 0.05", "settle_tolerance = 0.99"))


def test_a_settled_search_ends_before_the_day_and_an_interrupted_one_trains_no_further(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(run_folder, *AT_ONCE)
    monkeypatch.setattr("recsys_nas.search.decisions.UNDECIDED", (0.5, 0.5))
    search_day(Run.open(run_folder), 0, ranks)
    record = alphas(run_folder)
    assert (record["steps"], record["rows"], record["settled_at_rows"], record["rows_of_day"]) == (10, 1280, 1280, 2048)
    (run_folder / "days" / "day=00" / "alphas.json").unlink()  # killed after its last step, before its result
    search_day(Run.open(run_folder), 0, ranks)
    assert without_times(alphas(run_folder)) == without_times(record)


def test_a_gate_that_stays_low_leaves_while_training_goes_on(run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_nas.search.objective.LOOK_EVERY_STEPS", 4)
    changes = [("removal_bound = 0.05", "removal_bound = 0.49"), ("removal_share = 0.1", "removal_share = 0.01")]
    change(run_folder, *changes, ("cost_weight = 0.01", "cost_weight = 100.0"), ("warmup_share = 0.3", "warmup_share = 0.0"))
    search_day(Run.open(run_folder), 0, ranks)
    left = [gate["left_at_rows"] for gate in alphas(run_folder)["gates"]]
    assert left.count(None) == 1, "one gate always stays"
    assert {at for at in left if at is not None} == {8 * 128}, "low at the first look, and still at the second"


def test_decoys_are_searched_beside_the_modules(run_folder: Path, ranks: Ranks) -> None:
    change(run_folder, ("decoys = 0", "decoys = 2"))
    search_day(Run.open(run_folder), 0, ranks)
    record = alphas(run_folder)
    assert [(decoy["block"], decoy["module"]) for decoy in record["decoys"]] == [(1, "linear"), (2, "linear")]
    assert all(decoy["alpha"] != 0 for decoy in record["decoys"])
    assert len(record["gates"]) == 8


def test_the_control_searches_all_days_in_order(run_folder: Path, ranks: Ranks) -> None:
    search_in_sequence(Run.open(run_folder), ranks)
    record = json.loads((run_folder / "sequential" / "alphas.json").read_text())
    assert (record["days"], record["rows"], record["rows_of_day"]) == ([0, 1], 4096, 4096)
    assert load_architecture(run_folder / "sequential" / "architecture.json").blocks
    assert not (run_folder / "days").exists()
    assert not (run_folder / "architecture.json").exists()


def test_there_is_no_sequential_search_by_another_strategy(run_folder: Path, ranks: Ranks) -> None:
    change(run_folder, ('strategy = "dnas"', 'strategy = "random"'))
    with pytest.raises(ConfigError, match=r"search\.strategy = 'random'"):
        search_in_sequence(Run.open(run_folder), ranks)


@pytest.mark.slow
@pytest.mark.parametrize("options", COMPUTATIONS)
def test_two_ranks_search_as_one(tmp_path: Path, run_folder: Path, ranks: Ranks, options: dict[str, Any]) -> None:
    other = tmp_path / "two"
    other.mkdir()
    folder = write_run(other)
    for config in (run_folder / "config.toml", folder / "config.toml"):
        # Plain SGD shows a wrong scale of a gradient, which Adagrad and Adam would hide behind rounding that they amplify.
        text = (
            config.read_text()
            .replace('optimizer = "rowwise_adagrad"', 'optimizer = "sgd"')
            .replace("learning_rate = 0.05", "learning_rate = 0.5")
        )
        config.write_text(text.replace("learning_rate = 0.005", "learning_rate = 1e-5"))
        set_options(config.parent, "search", **options)
    search_day(Run.open(run_folder), 0, ranks)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "-m",
        "recsys_nas.jobs.search_day",
        str(folder),
        "--day",
        "0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    one, two = alphas(run_folder), alphas(folder)
    assert two["rows"] == one["rows"]
    assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-5)
    for mine, theirs in zip(one["gates"], two["gates"], strict=True):
        assert theirs["alpha"] == pytest.approx(mine["alpha"], abs=1e-4)


def test_a_missing_day_is_one_line_and_exit_code_two(run_folder: Path) -> None:
    command = [sys.executable, "-m", "recsys_nas.jobs.search_day", str(run_folder), "--day", "9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "error: day 9 is not in these shards; days there: 0, 1, 2" in done.stderr
    assert "Traceback" not in done.stderr
