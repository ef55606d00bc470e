"""report.md says what report.html says, in tables that Markdown viewers read."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

from recsys_nas.report.page import write_report
from recsys_nas.report.quantities import count
from recsys_nas.report.records import read_run
from recsys_nas.report.results import write_results
from recsys_nas.report.trust import checks, limits
from recsys_nas.report.verdict import judge
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import MODELS, add_controls


def markdown(run: Path) -> str:
    if not (run / "results.json").exists():
        write_results(run)
    write_report(run)
    return (run / "report.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[str]]:
    """The cells of every row by the first one."""
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells}


def test_days_judged_in_turn_are_told_as_such(make_run: MakeRun) -> None:
    run = make_run()
    assert "under the same settings and tested on day 5 (" in markdown(run)
    config = run / "config.toml"
    config.write_text(config.read_text().replace('progressive = ""', 'progressive = "3-5"'))
    (run / "results.json").unlink()
    text, page = markdown(run), (run / "report.html").read_text(encoding="utf-8")
    in_turn = "tested on days 3 to 5, each by models of the days before"
    assert f"{in_turn} (" in text
    assert page.count(in_turn) == 3
    assert "tested on day 5" not in text + page


def test_the_table_holds_the_figures_of_results_json(make_run: MakeRun) -> None:
    run = make_run()
    add_controls(run)
    table = rows(markdown(run))
    results = json.loads((run / "results.json").read_text())
    for model in results["models"]:
        assert table[model["name"]][0] == f"{model['auc']:.4f} ± {model['auc_ci95']:.4f}"
        assert table[model["name"]][5] == count(model["dense_flops"])
    assert table["random, mean of 8"][0].startswith(f"{results['random']['auc_mean']:.4f} ± ")
    assert table["*Bayes-optimal*"][0] == f"{results['bayes']['auc']:.4f}"


def test_what_costs_nothing_is_left_out_of_the_costs(make_run: MakeRun) -> None:
    run = make_run()
    path = run / "retrain" / "found" / "seed=0" / "result.json"
    result = json.loads(path.read_text())
    result["cost_by_module"] += [{"block": 1, "module": "field_gate", "flops": 0}, {"block": 1, "module": "sum", "flops": 777}]
    path.write_text(json.dumps(result))
    text = markdown(run)
    assert "field_gate" not in text
    assert "| sum | " in text


def test_it_says_the_verdict_the_evidence_and_the_limits(make_run: MakeRun) -> None:
    run = make_run()
    text = markdown(run)
    records = read_run(run)
    assert judge(records.results).headline in text
    for check in checks(records):
        assert check.text in text
    for limit in limits(records):
        assert f"- {limit}" in text
    assert "```mermaid\nflowchart TD" in text


def test_every_row_of_a_table_has_the_same_cells(make_run: MakeRun) -> None:
    run = make_run(models={"found": MODELS["found"], "a|b": MODELS["mlp"]})
    lines = markdown(run).splitlines()
    assert "a\\|b" in "".join(lines)
    for before, after in itertools.pairwise(lines):
        if before.startswith("|") and after.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", before)) == len(re.findall(r"(?<!\\)\|", after)), (before, after)


def test_one_model_one_seed_one_day(make_run: MakeRun) -> None:
    text = markdown(make_run(models={"found": MODELS["found"]}, seeds=(0,), num_days=1, truth=False))
    assert "nan" not in text
    assert "None" not in text.split("## Run it again")[0].replace("None of the gates", "")
