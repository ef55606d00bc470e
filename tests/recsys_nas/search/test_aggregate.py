"""From the gates of all days to one architecture: who is kept, how far days agree, and what a broken run folder is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.schema import Schema, SparseFeature
from data_prep.shards import DayEntry, Manifest, open_manifest, write_manifest
from recsys_nas import cli
from recsys_nas.config import Config, ConfigError, from_mapping, load_config, to_toml
from recsys_nas.cost import dense_flops, expected_dense_flops
from recsys_nas.search.aggregate import aggregate_run
from recsys_nas.search.day_results import note_settings
from recsys_nas.space import Architecture, Block, Gate, SearchSpace, SpaceRules, load_architecture

SPACE = SearchSpace(2, 3, 4, SpaceRules(2, (8,), (5,), ("linear", "fm"), ("embedded_fc",)))
# In the order of the gates: block 1, then block 2.
DAYS = {0: [0.9, 0.2, 0.3, 0.4, 0.7, 0.45], 2: [0.8, 0.3, 0.1, 0.7, 0.6, 0.42], 3: [0.7, 0.1, 0.2, 0.3, 0.8, 0.51]}


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


def write_day(
    run: Path, day: int, probabilities: list[float], gates: tuple[Gate, ...] = SPACE.gates, decoys: dict[Gate, float] | None = None
) -> None:
    path = day_file(run, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In another order than the space's, since a file is a set of gates.
    told = [{"block": g.block, "module": g.module, "alpha": 0.0, "probability": p} for g, p in zip(gates, probabilities, strict=True)]
    of_decoys = [{"block": g.block, "module": g.module, "probability": p} for g, p in (decoys or {}).items()]
    path.write_text(json.dumps({"format_version": 1, "day": day, "gates": told[::-1], "decoys": of_decoys}))


def read_alphas(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "alphas.json").read_text())
    return value


def test_a_run_is_aggregated_into_its_two_files(run: Path) -> None:
    aggregate_run(run)
    told = read_alphas(run)
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
    # Alone, day 0 keeps 1/linear and 2/fm, day 2 also 2/linear, and day 3 also 2/embedded_fc. Of 15 pairs of gates, days 0 and 2
    # order 12 alike, days 0 and 3 14, and days 2 and 3 11.
    assert told["agreement"] == {"kendall_tau": pytest.approx((9 + 13 + 7) / 45), "jaccard": pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)}
    assert [step["days"] for step in told["growth"]] == [[0], [0, 2], [0, 2, 3]]
    assert [change["day"] for change in told["without_day"]] == [0, 2, 3]
    assert (told["valid"], told["kept_for_want_of_better"], told["drifting"], told["missing_days"]) == (True, False, [], [])
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
    assert read_alphas(run)["agreement"] == {"kendall_tau": None, "jaccard": 1.0}
    assert read_alphas(run)["kept_for_want_of_better"]
    kept = load_architecture(run / "architecture.json")
    expected = expected_dense_flops(SPACE, dict.fromkeys(SPACE.gates, torch.tensor(0.5)))
    assert 0 < dense_flops(kept) <= float(expected) < dense_flops(SPACE.full())
    assert {module.name for module in kept.blocks[0].modules} == {"linear", "fm", "embedded_fc"}


def test_what_is_kept_because_nothing_better_fits_is_told(run: Path) -> None:
    """The modules above the threshold are too dear for the target; one below it is not."""
    costs = {gate: dense_flops(SPACE.architecture([gate])) for gate in SPACE.gates}
    cheapest = min(costs, key=lambda gate: costs[gate])
    config = load_config(run / "config.toml", [f"search.target_flops={costs[cheapest]}"])
    for day in DAYS:
        write_day(run, day, [0.3 if costs[gate] == costs[cheapest] else 0.9 for gate in SPACE.gates])
    aggregate_run(run, config=config)
    assert read_alphas(run)["kept_for_want_of_better"]
    assert [gate["probability"] for gate in read_alphas(run)["gates"] if gate["kept"]] == pytest.approx([0.3])


@pytest.mark.parametrize("words", [["search-day", "--day", "1"], ["aggregate", "--days", "0-2"]])
def test_days_that_are_not_searched_are_refused(run: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([words[0], str(run), *words[1:]]) == 2
    assert f"{words[1]}: day 1 is not one of data.search_days = '0,2-3'" in capsys.readouterr().err


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


def no_probability(path: Path) -> None:
    path.write_text(path.read_text().replace("0.8", "7"))


def infinite(path: Path) -> None:
    path.write_text(path.read_text().replace("0.8", "NaN"))


def settings_of_another_kind(path: Path) -> None:
    path.with_name("settings.json").write_text("[]")


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (no_probability, "is damaged .*7.0 is no probability"),
        (infinite, "is damaged .*nan is no probability"),
        (settings_of_another_kind, "is damaged"),
        (remove, "day 2 has not been searched: .*missing; search it, or leave it out"),
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


def test_days_may_be_left_out_and_are_written_down_as_missing(run: Path) -> None:
    day_file(run, 2).unlink()
    aggregate_run(run, [0, 3])
    told = read_alphas(run)
    assert (told["days"], told["missing_days"]) == ([0, 3], [2])
    assert told["gates"][0]["by_day"] == [0.9, 0.7]


DECOYS = {Gate(1, "linear"): 0.1, Gate(2, "linear"): 0.2}


def test_decoys_are_judged_like_gates_and_one_that_survives_spoils_the_search(run: Path) -> None:
    for day, probabilities in DAYS.items():
        write_day(run, day, probabilities, decoys=DECOYS)
    assert aggregate_run(run)
    assert [decoy["survived"] for decoy in read_alphas(run)["decoys"]] == [False, False]
    before = (run / "architecture.json").read_bytes()
    for day in (0, 2):
        write_day(run, day, DAYS[day], decoys=DECOYS | {Gate(2, "linear"): 0.7})
    assert not aggregate_run(run)
    told = read_alphas(run)
    assert not told["valid"]
    assert [decoy["survived"] for decoy in told["decoys"]] == [False, True]
    assert told["decoys"][1]["probability"] == pytest.approx(1.6 / 3)
    assert (run / "architecture.json").read_bytes() == before, "a decoy is in no architecture"


def test_days_with_other_decoys_do_not_go_together(run: Path) -> None:
    write_day(run, 3, DAYS[3], decoys=DECOYS)
    with pytest.raises(ConfigError, match=r"day 3 was searched with other decoys than day 0; remove .*day=03"):
        aggregate_run(run)


def test_another_rule_may_be_tried_beside_the_run(run: Path, tmp_path: Path) -> None:
    aggregate_run(run)
    before = (run / "alphas.json").read_bytes()
    config = load_config(run / "config.toml", ["search.aggregation=majority", "search.discretise=top_k", "search.top_k=1"])
    aggregate_run(run, config=config, out=tmp_path / "other")
    told = read_alphas(tmp_path / "other")
    assert (told["method"], told["discretise"], told["cut"]) == ("majority", "top_k", 0.5)
    assert [gate["score"] for gate in told["gates"]] == pytest.approx([1, 0, 0, 1 / 3, 1, 1 / 3])
    assert sum(gate["kept"] for gate in told["gates"]) == 1
    assert (run / "alphas.json").read_bytes() == before


def test_the_verb_tells_what_is_kept_and_how_far_days_agree(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["aggregate", str(run)]) == cli.SUCCESS
    told = capsys.readouterr().out
    assert "3 days" in told
    assert "2 of 6 modules kept by mean above 0.5" in told
    assert "1/linear       0.80 ± 0.10" in told
    assert "architecture.json" in told
    arguments = ["--days", "0,3", "--set", "search.aggregation=logit_mean", "--out", str(tmp_path / "other"), "--json"]
    assert cli.main(["aggregate", str(run), *arguments]) == cli.SUCCESS
    assert json.loads(capsys.readouterr().out) == read_alphas(tmp_path / "other")
    assert read_alphas(tmp_path / "other")["days"] == [0, 3]


def test_the_verb_warns_of_decoys_drift_and_days_that_keep_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(run / "config.toml", ['data.search_days="0-4"'])
    write_config(config)
    for day in range(5):
        write_day(run, day, [0.45, 0.4 - 0.08 * day, 0.3, 0.2, 0.1, 0.1], decoys={Gate(1, "fm"): 0.6})
    assert cli.main(["aggregate", str(run)]) == cli.SUCCESS
    told = capsys.readouterr()
    assert "1/fm drifts: -0.080 a day" in told.out
    assert "no module is above 0.5; kept are the best that cost no more than all are expected to" in told.out
    assert "warning: a decoy survived" in told.err


def test_set_without_out_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["aggregate", str(run), "--set", "search.aggregation=majority"]) == cli.USER_ERROR
    assert "--set goes with --out" in capsys.readouterr().err


def test_days_of_another_run_are_joined_where_their_settings_are_the_same(run: Path) -> None:
    config = load_config(run / "config.toml")
    manifest = open_manifest(config.data.shards)
    for day in DAYS:
        note_settings(run, day, config, manifest)
    write_config(load_config(run / "config.toml", ["search.threshold=0.7", "embedding.plan=plan.json", "retrain.epochs=3"]))
    aggregate_run(run, config=load_config(run / "config.toml", ["search.target_flops=200", "search.discretise=budget"]), out=run / "other")
    write_config(load_config(run / "config.toml", ["search.cost_weight=0.5"]))
    with pytest.raises(ConfigError, match=r"days/day=00 was searched with search.cost_weight = 0.01, and this run has 0.5"):
        aggregate_run(run)


def test_a_day_searched_on_other_rows_is_not_joined(run: Path) -> None:
    config = load_config(run / "config.toml")
    schema = open_manifest(config.data.shards).schema
    first, second = (Manifest(schema, {}, (DayEntry(0, rows, 1, ()),)) for rows in (5, 6))
    note_settings(run, 0, config, first)
    note_settings(run, 0, config, first)
    with pytest.raises(ConfigError, match=r"days/day=00 was searched on other rows than .*shards has of that day"):
        note_settings(run, 0, config, second)


def test_days_left_out_on_purpose_stay_left_out(run: Path) -> None:
    aggregate_run(run, [0, 2])
    assert set(read_alphas(run)["made_of"]) == {"0", "2", "3"}, "day 3 was there, and left out"
