"""That benchmarks/quality.py and benchmarks/aggregation.py ask for configs that there are, and what the latter says of its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.aggregation import RULES, table
from benchmarks.quality_data import DATA
from recsys_nas.config import load_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.mark.parametrize("data", DATA)
def test_every_recipe_and_point_is_a_config(data: str) -> None:
    for recipe in ((), *DATA[data].recipes.values()):
        for point in DATA[data].grid:
            load_config(CONFIGS / DATA[data].config, [*recipe, *point])


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_a_config_of_a_run_with_a_target(rule: str) -> None:
    load_config(CONFIGS / "criteo_kaggle.toml", list(RULES[rule]))


def row(rule: str, key: str, *aucs: float) -> dict[str, Any]:
    return {"rule": rule, "key": key, "kept": ["1/fm"], "dense_flops": 1000, "auc": {str(seed): auc for seed, auc in enumerate(aucs)}}


def test_rules_that_come_to_one_network_share_a_line() -> None:
    rows = [row("as it is", "a", 0.70, 0.72), row("majority", "a", 0.70, 0.72), row("recency", "b", 0.71, 0.72)]
    lines = table({each["rule"]: each for each in rows}).splitlines()
    assert lines[2:] == [
        "| as it is, majority | `1/fm` | 1,000 | 0.71000 |  |",
        "| recency | `1/fm` | 1,000 | 0.71500 | +0.00500 ± 0.06353 |",
    ]
