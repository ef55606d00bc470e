"""results.json holds what the records of the seeds hold, and nothing is compared that cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_nas.config import ConfigError
from recsys_nas.report.records import read_run
from recsys_nas.report.results import write_results
from recsys_nas.report.verdict import judge
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import BAYES_BY_ORDER, MODELS, TEST_POSITIVES, TEST_ROWS, add_controls, train_controls, write

ROOT = Path(__file__).resolve().parents[2]


def records(run: Path, model: str, seeds: tuple[int, ...] = (0, 1, 2)) -> list[dict[str, Any]]:
    return [json.loads((run / "retrain" / model / f"seed={seed}" / "result.json").read_text()) for seed in seeds]


def edit(path: Path, **changes: Any) -> None:
    write(path, json.loads(path.read_text()) | changes)


def test_the_file_holds_what_is_returned_in_the_agreed_shape(make_run: MakeRun) -> None:
    run = make_run()
    results = write_results(run)
    assert json.loads((run / "results.json").read_text()) == results
    assert results["format_version"] == 1
    assert set(results["models"][0]) >= {
        "name", "auc", "logloss", "ne", "calibration", "dense_flops", "lookup_flops", "lookup_bytes", "dense_params", "seeds",
        "train_seconds", "rows_per_second", "auc_by_seed", "logloss_by_seed", "ne_by_seed", "auc_ci95",
    }  # fmt: skip
    assert "vs_found" not in results["models"][0]
    assert all(set(model["vs_found"]) >= {"auc_diff", "auc_diff_ci95", "dense_flops_ratio"} for model in results["models"][1:])


def test_figures_are_means_and_students_t_intervals_over_seeds(make_run: MakeRun) -> None:
    run = make_run()
    results = {model["name"]: model for model in write_results(run)["models"]}
    for name, model in results.items():
        for field in ("auc", "logloss", "ne", "calibration", "train_seconds", "rows_per_second"):
            assert model[field] == pytest.approx(np.mean([record[field] for record in records(run, name)]))
        auc = [record["auc"] for record in records(run, name)]
        assert model["auc_by_seed"] == auc
        assert model["auc_ci95"] == pytest.approx(4.302653 * np.std(auc, ddof=1) / np.sqrt(3))
        assert model["dense_flops"] == MODELS[name][2]


def test_the_refined_network_is_listed_once_it_is_trained_and_no_rival_of_found(make_run: MakeRun) -> None:
    run = make_run()
    assert "refined" not in {model["name"] for model in write_results(run)["models"]}
    for seed in (0, 1):
        result = run / "retrain" / "dlrm" / f"seed={seed}" / "result.json"
        write(run / "retrain" / "refined" / f"seed={seed}" / "result.json", json.loads(result.read_text()) | {"auc": 0.999})
    with pytest.raises(ConfigError, match=r"model refined has no result for seed 2 .*; run `recsys-nas retrain .* --model refined`"):
        write_results(run)
    write(run / "retrain" / "refined" / "seed=2" / "result.json", json.loads(result.read_text()) | {"auc": 0.999, "seed": 2})
    results = write_results(run)
    assert [model["name"] for model in results["models"][:2]] == ["found", "refined"]
    assert "refined" not in judge(results).sentence


def test_found_is_paired_with_each_model_seed_by_seed(make_run: MakeRun) -> None:
    run = make_run()
    dlrm = next(model for model in write_results(run)["models"] if model["name"] == "dlrm")
    pairs = zip(records(run, "found"), records(run, "dlrm"), strict=True)
    differences = [mine["auc"] - theirs["auc"] for mine, theirs in pairs]
    assert dlrm["vs_found"]["auc_diff"] == pytest.approx(np.mean(differences))
    assert dlrm["vs_found"]["auc_diff_ci95"] == pytest.approx(4.302653 * np.std(differences, ddof=1) / np.sqrt(3))
    assert dlrm["vs_found"]["dense_flops_ratio"] == pytest.approx(MODELS["found"][2] / MODELS["dlrm"][2])


def test_found_comes_first_and_the_others_follow_by_auc(make_run: MakeRun) -> None:
    worst_found = MODELS | {"found": (0.70, 0.52, 1000, 1000)}
    names = [model["name"] for model in write_results(make_run(models=worst_found))["models"]]
    assert names == ["found", "full_supernet", "dcnv2", "dlrm", "mlp"]


def test_one_seed_has_no_interval(make_run: MakeRun) -> None:
    found, other = write_results(make_run(seeds=(4,)))["models"][:2]
    assert found["seeds"] == [4]
    assert found["auc_ci95"] is None
    assert other["vs_found"]["auc_diff_ci95"] is None


def test_search_costs_are_summed_over_days(make_run: MakeRun) -> None:
    run = make_run(num_days=3)
    seconds = [json.loads((run / "days" / f"day={day:02d}" / "alphas.json").read_text())["seconds"] for day in range(3)]
    search = write_results(run)["search"]
    assert search["days"] == [0, 1, 2]
    assert search["rows"] == 600_000
    assert search["seconds_total"] == pytest.approx(sum(seconds))
    assert search["seconds_longest_day"] == max(seconds)


def test_bayes_figures_come_with_the_entropy_of_the_test_day(make_run: MakeRun) -> None:
    results = write_results(make_run())
    rate = TEST_POSITIVES / TEST_ROWS
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert results["bayes"] == {"auc": 0.7764, "logloss": 0.4752, "ne": pytest.approx(0.4752 / entropy), "by_order": BAYES_BY_ORDER}


def test_without_a_truth_there_are_no_bayes_figures(make_run: MakeRun) -> None:
    assert write_results(make_run(truth=False))["bayes"] is None


def test_bayes_figures_of_another_day_are_left_out_with_a_note(make_run: MakeRun) -> None:
    run = make_run()
    write(run.parent / "truth.json", {"bayes": {"day": 9, "auc": 0.9, "logloss": 0.1}})
    results = write_results(run)
    assert results["bayes"] is None
    assert "day 9" in results["notes"][0]


def test_a_missing_seed_names_model_seed_and_command(make_run: MakeRun) -> None:
    run = make_run()
    (run / "retrain" / "dcnv2" / "seed=1" / "result.json").unlink()
    with pytest.raises(ConfigError, match=r"dcnv2.*seed 1.*recsys-nas retrain .* --model dcnv2") as caught:
        write_results(run)
    assert "\n" not in str(caught.value)
    assert not (run / "results.json").exists()


def test_a_missing_day_names_the_day(make_run: MakeRun) -> None:
    run = make_run()
    (run / "days" / "day=03" / "alphas.json").unlink()
    with pytest.raises(ConfigError, match=r"day=03.*search-day .* --day 3"):
        write_results(run)


def test_a_missing_truth_file_names_the_setting(make_run: MakeRun) -> None:
    run = make_run()
    (run.parent / "truth.json").unlink()
    with pytest.raises(ConfigError, match=r"truth\.json is missing.*data\.truth"):
        write_results(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auc": None}, "auc = None is no finite number"),
        ({"auc": float("nan")}, "auc = nan is no finite number"),
        ({"dense_flops": 7}, "dense_flops of model mlp differs between its seeds"),
        ({"test_rows": 10}, "mlp, seed 2 was tested on 10 rows"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(make_run: MakeRun, changes: dict[str, Any], message: str) -> None:
    run = make_run()
    edit(run / "retrain" / "mlp" / "seed=2" / "result.json", **changes)
    with pytest.raises(ConfigError, match=message):
        write_results(run)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "lacks"), ('{"auc": 0.7}', "lacks logloss")])
def test_a_broken_result_is_one_line(make_run: MakeRun, text: str, message: str) -> None:
    run = make_run()
    write(run / "retrain" / "mlp" / "seed=0" / "result.json", text)
    with pytest.raises(ConfigError, match=message) as caught:
        write_results(run)
    assert "\n" not in str(caught.value)


def test_the_found_network_has_its_place_among_random_ones(make_run: MakeRun) -> None:
    run = make_run()
    train_controls(run, (0.70, 0.75, 0.80, 0.76))
    mine = records(run, "found", (0,))[0]["auc"]
    edit(run / "retrain" / "random-03" / "seed=0" / "result.json", auc=mine)
    random = write_results(run)["random"]
    assert random["percentile_vs_random"] == pytest.approx(100 * 2.5 / 4)
    assert (random["count"], random["seed"], random["auc_best"], random["found_auc"]) == (4, 0, 0.80, mine)
    assert random["dense_flops"] == [60_000] * 4
    assert "could not be trained" not in " ".join(write_results(run)["notes"])
    (run / "retrain" / "random-02" / "seed=0" / "result.json").unlink()
    without = write_results(run)
    assert without["random"]["auc"] == [0.70, 0.75, mine]
    assert without["notes"] == [
        "Of 4 random networks asked for at the found one's FLOPs, 1 could not be trained; the logs of these jobs say why."
    ]


def test_a_day_that_the_architecture_does_without_is_not_asked_for(make_run: MakeRun) -> None:
    run = make_run()
    (run / "days" / "day=03" / "alphas.json").unlink()
    with pytest.raises(ConfigError, match="day=03"):
        write_results(run)
    edit(run / "alphas.json", missing_days=[3])
    assert 3 not in write_results(run)["search"]["days"]


def keys_in(value: Any) -> set[str]:
    """Names of fields, not of days, orders or packages."""
    if isinstance(value, list):
        return set().union(*map(keys_in, value))
    if not isinstance(value, dict):
        return set()
    return {key for key in value if re.fullmatch("[a-z_0-9]*[a-z][a-z_0-9]*", key)}.union(*map(keys_in, value.values()))


def test_every_key_is_told_in_the_docs(make_run: MakeRun) -> None:
    run = make_run()
    train_controls(run, (0.70, 0.75))
    page = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
    told = set(re.findall(r"\w+", " ".join(re.findall("`([^`]+)`", page))))
    found = keys_in(write_results(run)) | keys_in(json.loads((run / "alphas.json").read_text()))
    assert len(found) > 60
    assert {key for key in found - told if not re.search("_(ci95|by_seed)$", key)} == set()


def test_without_controls_nothing_is_said_of_chance(make_run: MakeRun) -> None:
    assert write_results(make_run())["random"] is None


def test_the_interval_over_rows_is_that_of_one_model_and_none_where_a_seed_has_none(make_run: MakeRun) -> None:
    run = make_run()
    found = write_results(run)["models"][0]
    assert found["auc_row_ci95"] == pytest.approx(0.0024 + 1e-5)
    edit(run / "retrain" / "found" / "seed=1" / "result.json", auc_row_ci95=None)
    assert write_results(run)["models"][0]["auc_row_ci95"] is None


def test_days_that_were_searched_and_judged_are_told(make_run: MakeRun) -> None:
    run = make_run()
    config = run / "config.toml"
    config.write_text(config.read_text().replace('progressive = ""', 'progressive = "3-5"'))
    results = write_results(run)
    assert results["test"]["days"] == [3, 4, 5]
    assert "Days 3, 4 are judged on and were searched too" in results["notes"][0]
    assert results["bayes"] is None


def test_its_words_are_those_of_the_page_of_names(make_run: MakeRun) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "run-folder.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/*.]+)`", page))
    (found, *_) = write_results(make_run())["models"]
    words = {re.sub(r"_(by_seed|(row_)?ci95)$", "", key) for key in found} - {"name", "seeds"}
    assert words <= named


def test_networks_of_the_run_are_not_told_as_found_under_other_prices(make_run: MakeRun) -> None:
    run = make_run()
    add_controls(run)
    assert [point["name"] for point in read_run(run).sweep] == ["cost_weight=0.03", "cost_weight=0.003"]
