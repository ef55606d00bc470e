"""A sweep of prices: dearer FLOPs, smaller networks; beside them whatever the run has trained; gone on with, not done again."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recsys_nas.cli import main
from recsys_nas.config import ConfigError
from recsys_nas.jobs import pareto
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.pareto import Point, front, sweep, sweep_text
from recsys_nas.jobs.retrain import retrain
from recsys_nas.report.pareto_figure import pareto_svg
from tests.recsys_nas.jobs.conftest import set_options

CHEAP, DEAR = "search.cost_weight=1e-4", "search.cost_weight=30.0"


def opened(run_folder: Path) -> Run:
    """A run whose gates can move in a day of 16 steps, and whose models have two seeds."""
    config = run_folder / "config.toml"
    config.write_text(config.read_text().replace("alpha_learning_rate = 0.03", "alpha_learning_rate = 0.5"))
    return Run.open(run_folder)


def test_each_price_has_its_network_beside_those_of_the_run(
    run_folder: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(run_folder)
    for seed in (0, 1):
        retrain(run, "mlp", seed, ranks)
    points = {point.name: point for point in sweep(run, [CHEAP, DEAR], ranks)}
    assert set(points) == {"cost_weight=1e-4", "cost_weight=30.0", "mlp"}
    assert {point.kind for point in points.values()} == {"found", "zoo"}
    dear, cheap = points["cost_weight=30.0"], points["cost_weight=1e-4"]
    assert dear.dense_flops < cheap.dense_flops
    aucs = [json.loads((run_folder / "retrain" / "mlp" / f"seed={seed}" / "result.json").read_text())["auc"] for seed in (0, 1)]
    assert points["mlp"].auc == pytest.approx(sum(aucs) / 2)
    written = json.loads((run_folder / "pareto.json").read_text())
    assert [point["dense_flops"] for point in written["points"]] == sorted(point.dense_flops for point in points.values())
    assert ElementTree.parse(run_folder / "pareto.svg").getroot().tag.endswith("svg")
    # The run's own search is left alone, and nothing is searched or trained a second time.
    assert not (run_folder / "days").exists()
    monkeypatch.setattr(pareto, "aggregate_run", lambda folder: False)
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*") if path.name in ("alphas.json", "result.json")}
    assert {point.name: point for point in sweep(run, [CHEAP, DEAR], ranks)} == points
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert f"warning: {CHEAP}: a decoy survived" in capsys.readouterr().err


KINDS = {"refined": "found", "random-00": "random", "random_forest": "zoo", "full_supernet": "supernet"}


@pytest.mark.parametrize(("model", "kind"), KINDS.items())
def test_what_the_run_has_trained_is_told_apart_by_its_name(run_folder: Path, ranks: Ranks, model: str, kind: str) -> None:
    run = opened(run_folder)
    result = run_folder / "retrain" / model / "seed=0" / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text(json.dumps({"auc": 0.7, "dense_flops": 10}))
    assert [point.kind for point in sweep(run, [], ranks)] == [kind]


def test_a_price_that_is_none_stops_the_sweep_before_anything_is_searched(run_folder: Path, ranks: Ranks) -> None:
    with pytest.raises(ConfigError, match=r"search.cost_weight = -1.0: must be finite and 0 or more"):
        sweep(opened(run_folder), [CHEAP, "search.cost_weight=-1.0"], ranks)
    assert not list(run_folder.rglob("alphas.json"))


def test_no_flops_are_no_target(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pareto", str(run_folder), "--targets", "1000", "0"]) == 2
    assert "--targets 0: dense FLOPs, at least 1" in capsys.readouterr().err


def test_a_sweep_of_weights_leaves_out_the_target_of_the_run(run_folder: Path, ranks: Ranks) -> None:
    (run_folder / "config.toml").write_text((run_folder / "config.toml").read_text().replace("target_flops = 0", "target_flops = 700"))
    run = opened(run_folder)
    assert run.config.search.target_flops == 700
    sweep(run, [CHEAP], ranks)
    assert Run.open(run_folder / "pareto" / "cost_weight-1e-4").config.search.target_flops == 0


def point(name: str, flops: int, auc: float, kind: str = "zoo") -> Point:
    return Point(name, kind, flops, auc, None)


def test_the_front_has_what_nothing_cheaper_equals() -> None:
    small, middle, worse, best, twin = (
        point("small", 10, 0.70), point("middle", 20, 0.75), point("worse", 25, 0.74), point("best", 30, 0.80), point("twin", 30, 0.79),
    )  # fmt: skip
    assert front([small, middle, worse, best, twin]) == {small, middle, best}


def test_two_networks_of_one_price_and_auc_are_both_on_the_front() -> None:
    points = [point("a", 10, 0.7), point("b", 10, 0.7)]
    assert front(points) == set(points)


def test_the_text_marks_the_front() -> None:
    lines = sweep_text([point("small", 1000, 0.7), Point("found", "found", 2000, 0.69, 0.001)]).splitlines()
    assert lines[1].startswith("* small")
    assert lines[2].startswith("  found")
    assert "2,000  0.6900 ± 0.0010" in lines[2]


def test_the_figure_names_the_zoo_and_found_networks_on_the_front() -> None:
    points = [
        point("lr", 442, 0.60),
        point("target_flops=60000", 59_000, 0.70, "found"),
        point("target_flops=120000", 110_000, 0.69, "found"),
        point("target_flops=200000", 150_000, 0.75, "found"),
        point("target_flops=300000", 150_000, 0.75, "found"),
        point("random-00", 160_000, 0.76, "random"),
        point("dcnv2", 900_000, 0.74),
        point("full_supernet", 950_000, 0.73, "supernet"),
    ]
    drawn = ElementTree.fromstring(pareto_svg([vars(each) for each in points], {each.name for each in front(points)}))
    texts = {text.strip() for text in drawn.itertext() if text.strip()}
    assert {"lr", "target 60 k", "target 200 k, target 300 k", "dcnv2", "full_supernet"} <= texts
    assert not {"random-00", "target 120 k"} & texts


def test_a_strategy_that_heeds_no_price_is_refused(run_folder: Path, ranks: Ranks) -> None:
    set_options(run_folder, "search", strategy="random")
    with pytest.raises(ConfigError, match=r"search.strategy = 'random': only 'dnas' heeds a price"):
        sweep(Run.open(run_folder), [CHEAP], ranks)


def test_more_seeds_are_trained_for_a_price_that_is_there(run_folder: Path, ranks: Ranks) -> None:
    set_options(run_folder, "retrain", seeds=[0])
    assert sweep(opened(run_folder), [CHEAP], ranks)[0].auc_ci95 is None
    set_options(run_folder, "retrain", seeds=[0, 1])
    assert sweep(Run.open(run_folder), [CHEAP], ranks)[0].auc_ci95 is not None
    set_options(run_folder, "retrain", learning_rate=0.1)
    with pytest.raises(ConfigError, match=r"was started with retrain.learning_rate = 0.005 and is now asked for 0.1: remove .*pareto"):
        sweep(Run.open(run_folder), [CHEAP], ranks)
