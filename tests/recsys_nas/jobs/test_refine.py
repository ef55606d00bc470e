"""Modules added and dropped one by one: neighbours, halving over seeds, what is judged, and going on where it was cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.atomic import write_json
from recsys_nas.cli import main
from recsys_nas.config import ConfigError, load_config
from recsys_nas.cost import dense_flops
from recsys_nas.jobs import refine as refining
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.networks import architecture_of
from recsys_nas.jobs.refine import Candidate, cheapest_within, halved, neighbours, refine, refine_text
from recsys_nas.jobs.retrain import retrain
from recsys_nas.space import Architecture, Block, Gate, SearchSpace
from tests.recsys_nas.jobs.conftest import set_options

PLENTY = 10**9


def opened(run_folder: Path, *kept: Gate) -> Run:
    """A run that has found the network of these gates."""
    run = Run.open(run_folder)
    write_json(run_folder / "architecture.json", run.space().architecture(kept or [Gate(1, "linear")]).canonical().to_json())
    return run


def candidates(space: SearchSpace) -> list[Candidate]:
    return neighbours(space, space.architecture([Gate(1, "linear"), Gate(2, "fm")]), PLENTY)


def test_neighbours_have_one_module_more_or_less(run_folder: Path) -> None:
    space = opened(run_folder).space()
    changes = {candidate.change for candidate in candidates(space)}
    assert changes == {
        "-1/linear", "+1/fm", "+1/dot_product", "+1/embedded_fc", "+2/linear", "-2/fm", "+2/dot_product", "+2/embedded_fc",
    }  # fmt: skip
    for candidate in candidates(space):
        assert candidate.network.key() != space.architecture([Gate(1, "linear"), Gate(2, "fm")]).key()


def test_a_network_is_never_emptied_and_never_beyond_the_budget(run_folder: Path) -> None:
    space = opened(run_folder).space()
    alone = space.architecture([Gate(1, "linear")])
    every = neighbours(space, alone, PLENTY)
    assert "-1/linear" not in {candidate.change for candidate in every}
    limit = sorted(dense_flops(candidate.network) for candidate in every)[2]
    assert {c.change for c in neighbours(space, alone, limit)} == {c.change for c in every if dense_flops(c.network) <= limit}


def test_twins_are_tried_once(run_folder: Path) -> None:
    """A module of the first block and the same of the second, with the first left empty, are one network."""
    space = opened(run_folder).space()
    moved = neighbours(space, space.architecture([Gate(1, "linear"), Gate(2, "linear")]), PLENTY)
    dropped = [candidate.network for candidate in moved if candidate.change.startswith("-")]
    assert len({network.key() for network in dropped}) == len(dropped) == 1


def test_each_seed_halves_the_rivals_but_not_the_current_one(run_folder: Path) -> None:
    rivals = candidates(opened(run_folder).space())
    worth = {candidate.change: number / 100 for number, candidate in enumerate(rivals)}
    current = Candidate("", rivals[0].network)
    trained: list[tuple[str, int]] = []

    def train(candidate: Candidate, seed: int) -> None:
        trained.append((candidate.change, seed))
        candidate.aucs[seed] = worth.get(candidate.change, -1.0) + (seed == 7 and candidate is rivals[0])

    order = halved(current, list(rivals), [3, 7, 9], train)
    by_seed = {seed: [change for change, with_seed in trained if with_seed == seed] for seed in (3, 7, 9)}
    assert [len(by_seed[seed]) for seed in (3, 7, 9)] == [9, 5, 3]
    assert all("" in changes for changes in by_seed.values())
    # A mean over seeds decides, and who was trained with fewer of them stands behind.
    assert [candidate.change for candidate in order[:3]] == [rivals[7].change, rivals[6].change, ""]
    assert len(order) == 9


def test_better_neighbours_take_the_networks_place(run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened(run_folder)
    wanted = {Gate(1, "linear"), Gate(1, "fm"), Gate(2, "dot_product")}

    def trained(run: Run, judged: object, network: Architecture, seed: int, ranks: Ranks) -> dict[str, object]:
        kept = set(run.space().kept_gates(network))
        return {"auc": 0.7 - len(kept ^ wanted) / 100 + seed / 10_000, "train_rows": 10, "train_seconds": 1.0}

    monkeypatch.setattr(refining, "_trained", trained)
    history = refine(run, PLENTY, "", [0, 1], 5, ranks)
    # The order of two changes of the same worth is that of the gates; then nothing is better, and the search ends.
    assert [candidates[0].change for candidates in history] == ["+1/fm", "+2/dot_product", ""]
    assert set(run.space().kept_gates(history[-1][0].network)) == wanted
    told = json.loads((run_folder / "refine.json").read_text())
    assert (told["judged_days"], told["max_flops"], told["seeds"]) == ("1", PLENTY, [0, 1])
    assert told["rounds"][0][0]["auc_by_seed"] == {"0": pytest.approx(0.69), "1": pytest.approx(0.6901)}
    assert told["rounds"][0][0]["train_rows"] == 20
    assert json.loads((run_folder / "refine" / "architecture.json").read_text()) == history[-1][0].network.canonical().to_json()
    lines = refine_text(history).splitlines()
    assert lines[0] == "round 1"
    assert lines[2].startswith("* +1/fm ")
    assert any(line.startswith("* as it is") for line in lines)


@pytest.mark.parametrize(("tolerance", "dropped"), [(0.0, 0), (0.0003, 0), (0.0005, 1), (0.0009, 2)])
def test_a_tolerance_is_spent_once_in_all_rounds(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch, tolerance: float, dropped: int
) -> None:
    """Every module adds .0004: each round would lose as much again, were it compared with the round before."""

    def trained(run: Run, judged: object, network: Architecture, seed: int, ranks: Ranks) -> dict[str, object]:
        return {"auc": 0.7 + 0.0004 * len(run.space().kept_gates(network)), "train_rows": 1, "train_seconds": 1.0}

    monkeypatch.setattr(refining, "_trained", trained)
    run = opened(run_folder, *Run.open(run_folder).space().gates)
    history = refine(run, PLENTY, "", [0, 1], 5, ranks, tolerance)
    assert len(run.space().gates) - len(run.space().kept_gates(history[-1][0].network)) == dropped
    assert not history[-1][0].change
    assert json.loads((run_folder / "refine.json").read_text())["tolerance"] == tolerance


def test_of_networks_within_the_tolerance_the_cheapest_is_taken(run_folder: Path) -> None:
    several = candidates(opened(run_folder).space())
    for candidate in several:
        candidate.aucs = {0: 0.7, 1: 0.7}
    several.sort(key=lambda candidate: dense_flops(candidate.network))
    several[0].aucs = {0: 0.7}
    several[1].aucs = {0: 0.7, 1: 0.68}
    assert cheapest_within(several, 2, 0.7) is several[2]
    assert cheapest_within(several, 2, 0.69) is several[1]


def test_trainings_of_an_earlier_refined_network_are_not_passed_off(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def larger_is_better(run: Run, judged: object, network: Architecture, seed: int, ranks: Ranks) -> dict[str, object]:
        return {"auc": dense_flops(network) / 1e6, "train_rows": 1, "train_seconds": 1.0}

    monkeypatch.setattr(refining, "_trained", larger_is_better)
    run = opened(run_folder)
    refine(run, PLENTY, "", [0], 2, ranks)
    (run_folder / "retrain" / "refined").mkdir(parents=True)
    refine(run, PLENTY, "", [0], 2, ranks)
    with pytest.raises(ConfigError, match="refined holds trainings of the network that was refined before; move it away"):
        refine(run, PLENTY, "", [0], 3, ranks)


def test_one_round_changes_one_module_at_most(run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    def larger_is_better(run: Run, judged: object, network: Architecture, seed: int, ranks: Ranks) -> dict[str, object]:
        return {"auc": dense_flops(network) / 1e6, "train_rows": 1, "train_seconds": 1.0}

    monkeypatch.setattr(refining, "_trained", larger_is_better)
    assert len(refine(opened(run_folder), PLENTY, "", [0], 1, ranks)) == 1


def test_networks_are_trained_and_judged_on_search_days_alone(run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    set_options(run_folder, "space", num_blocks=1, sparse_modules=[])
    run = opened(run_folder)
    (candidates,) = refine(run, PLENTY, "", [0], 1, ranks)
    folder = run_folder / "refine" / candidates[0].network.key()
    made = load_config(folder / "config.toml")
    assert (made.data.train_days, made.retrain.progressive) == ("0-1", "1")
    result = json.loads((folder / "retrain" / "found" / "seed=0" / "result.json").read_text())
    assert [day["day"] for day in result["by_day"]] == [1]
    assert candidates[0].aucs == {0: result["auc"]}
    # What was trained is read, not trained again, and the refined network is a model of the run.
    monkeypatch.setattr("recsys_nas.jobs.retrain._train_and_score", lambda *_: pytest.fail("trained again"))
    assert refine(run, PLENTY, "", [0], 1, ranks)[0][0].aucs == candidates[0].aucs
    monkeypatch.undo()
    retrain(run, "refined", 0, ranks)
    assert json.loads((run_folder / "retrain" / "refined" / "seed=0" / "result.json").read_text())["dense_flops"] == dense_flops(
        candidates[0].network
    )


def test_validation_days_judge_where_there_are_any(run_folder: Path, ranks: Ranks) -> None:
    set_options(run_folder, "space", num_blocks=1, sparse_modules=[])
    set_options(run_folder, "data", search_days="0", train_days="0", valid_days="1")
    set_options(run_folder, "retrain", epochs=2)
    (candidates,) = refine(opened(run_folder), PLENTY, "", [0], 1, ranks)
    folder = run_folder / "refine" / candidates[0].network.key()
    result = json.loads((folder / "retrain" / "found" / "seed=0" / "result.json").read_text())
    assert candidates[0].aucs == {0: max(epoch["auc"] for epoch in result["validations"])}
    with pytest.raises(ConfigError, match=r"--judge-days 1: data.valid_days = '1' judges already"):
        refine(Run.open(run_folder), PLENTY, "1", [0], 1, ranks)


def test_with_validation_days_nothing_is_trained_on_a_day_that_the_run_is_judged_by(run_folder: Path) -> None:
    """Models of later scored days learn from the earlier ones; candidates may not."""
    set_options(run_folder, "data", search_days="0", train_days="0,2", valid_days="1", test_day=3)
    set_options(run_folder, "retrain", progressive="2")
    judged = refining._judged_config(opened(run_folder), "")
    assert (judged.data.train_days, judged.retrain.progressive) == ("0", "")
    assert refining.days_of(opened(run_folder), "") == (0, 1, 3)


def test_the_epoch_that_models_go_back_to_is_the_one_that_judges(run_folder: Path) -> None:
    set_options(run_folder, "data", search_days="0", train_days="0", valid_days="1")
    result = {"validations": [{"auc": 0.7, "logloss": 0.5}, {"auc": 0.6, "logloss": 0.4}]}
    for monitor, auc in (("auc", 0.7), ("logloss", 0.6)):
        set_options(run_folder, "retrain", monitor=monitor)
        assert refining._auc(result, refining._judged_config(opened(run_folder), "")) == auc


@pytest.mark.parametrize("text", ["{}", "[]", '{"gates": [', '{"gates": [3]}'])
def test_gates_that_cannot_be_read_are_named(run_folder: Path, ranks: Ranks, text: str) -> None:
    run = opened(run_folder)
    (run_folder / "alphas.json").write_text(text)
    with pytest.raises(ConfigError, match=r"alphas\.json is damaged .*; run `recsys-nas aggregate .*run` again"):
        refine(run, PLENTY, "", [0], 1, ranks)


def test_a_refinement_of_a_search_that_kept_noise_says_so(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = opened(run_folder)
    write_json(run_folder / "alphas.json", {"valid": False, "gates": [{"block": 1, "module": "linear", "kept": True}]})
    assert refining._kept_gates(run.folder / "alphas.json") == [Gate(1, "linear")]
    assert "a decoy survived" in capsys.readouterr().err


def test_what_cannot_be_refined_is_said_in_a_line(run_folder: Path, ranks: Ranks) -> None:
    run = opened(run_folder)
    with pytest.raises(ConfigError, match=r"the found network needs \d+ dense FLOPs, more than the 5 that it may have"):
        refine(run, 5, "", [0], 1, ranks)
    with pytest.raises(ConfigError, match=r"--judge-days 2: day 2 is not one of data.search_days = '0-1'"):
        refine(run, PLENTY, "2", [0], 1, ranks)
    with pytest.raises(ConfigError, match=r"--judge-days 0: no day of data.search_days = '0-1' comes before its first"):
        refine(run, PLENTY, "0", [0], 1, ranks)
    assert not (run_folder / "refine").exists(), "which would hold the next one to what was asked now"


def test_trainings_of_another_config_are_not_taken_for_these(run_folder: Path, ranks: Ranks) -> None:
    set_options(run_folder, "space", num_blocks=1, dense_modules=["linear", "fm"], sparse_modules=[])
    refine(opened(run_folder), PLENTY, "", [0], 1, ranks)
    set_options(run_folder, "retrain", learning_rate=0.5)
    with pytest.raises(ConfigError, match="refine is of another config or of other judged days; move it away"):
        refine(Run.open(run_folder), PLENTY, "", [0], 1, ranks)


def test_the_command_prints_rounds_and_names_what_is_wrong(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_options(run_folder, "space", num_blocks=1, dense_modules=["linear", "fm"], sparse_modules=[])
    opened(run_folder)
    assert main(["refine", str(run_folder)]) == 2
    assert "--max-flops is needed where search.target_flops is 0" in capsys.readouterr().err
    for tolerance in ("-0.1", "1.5", "nan"):
        assert main(["refine", str(run_folder), "--max-flops", "9999", f"--tolerance={tolerance}"]) == 2
        assert "a difference of AUC, such as 0.0002; must lie in [0, 1)" in capsys.readouterr().err
    for wrong in (["--rounds", "0"], ["--seeds", "1", "1"]):
        assert main(["refine", str(run_folder), "--max-flops", "9999", *wrong]) == 2
        assert "must be 0 or more, each named once" in (told := capsys.readouterr().err) or "--rounds 0: must be 1 or more" in told
    assert main(["refine", str(run_folder), "--max-flops", "9999", "--seeds", "0", "--rounds", "1", "--json"]) == 0
    (candidates,) = json.loads(capsys.readouterr().out)
    assert {candidate["change"] for candidate in candidates} == {"", "+1/fm"}


def test_in_a_chain_an_empty_block_is_no_other_network(run_folder: Path) -> None:
    """`3/linear` reads the stem and the empty block before it, and is not `2/linear`, which reads what `1/cross` made."""
    set_options(run_folder, "space", num_blocks=3, dense_modules=["linear", "fm", "cross"], sparse_modules=[], connect="chain")
    run = Run.open(run_folder)
    kept = [Gate(1, "cross"), Gate(3, "linear")]
    found = run.space().architecture(kept).canonical()
    alphas = {"gates": [{"block": g.block, "module": g.module, "kept": g in kept} for g in run.space().gates]}
    write_json(run_folder / "alphas.json", alphas)
    start = refining._numbered_as_in_space(run, found)
    assert start.key() == found.key()
    changes = {candidate.change for candidate in neighbours(run.space(), start, PLENTY)}
    assert {"-1/cross", "-3/linear", "+2/linear", "+2/fm", "+3/fm"} <= changes


def test_a_network_that_no_gates_make_is_refused(run_folder: Path) -> None:
    write_json(run_folder / "architecture.json", Architecture(2, 3, 4, (Block.reading((0,), ("cin",), 8),), (1,)).to_json())
    run = Run.open(run_folder)
    with pytest.raises(ConfigError, match="is no choice of modules of the run's space"):
        refining._numbered_as_in_space(run, architecture_of(run, "found"))
