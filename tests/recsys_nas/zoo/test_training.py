"""Every model of the zoo goes through `retrain`, by its name, to a result that says what it costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.zoo.catalogue import MODELS
from tests.recsys_nas.jobs.conftest import write_run


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_of_the_zoo_is_trained_by_name(name: str, tmp_path: Path, ranks: Ranks) -> None:
    run = Run.open(write_run(tmp_path))
    retrain(run, name, 0, ranks)
    result = json.loads((run.folder / "retrain" / name / "seed=0" / "result.json").read_text(encoding="utf-8"))
    assert result["model"] == name
    assert result["dense_flops"] > 0
    assert result["auc"] > 0.5, "worse than a guess on a log with one strong pair"
    assert 0 < result["logloss"] < 1
