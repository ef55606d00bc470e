"""The supernet's judgement in benchmarks/quality_ranking.py reads what a search leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality_ranking import ranking
from recsys_nas.config import ConfigError
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import process_group
from recsys_nas.jobs.networks import architecture_of
from recsys_nas.jobs.search_day import search_day
from recsys_nas.search.aggregate import aggregate_run
from tests.recsys_nas.jobs.conftest import set_options, write_run

NAMES = ("found", "random-00", "random-01")


@pytest.mark.parametrize("normalisation", ["rms", "batch"])
def test_networks_are_ranked_by_the_weights_of_the_search(tmp_path: Path, normalisation: str) -> None:
    folder = write_run(tmp_path)
    set_options(folder, "data", search_days="0")
    set_options(folder, "space", normalisation=normalisation)
    set_options(folder, "search", decoys=1, learning_rate=0.02)
    run = Run.open(folder)
    with process_group() as ranks:
        with pytest.raises(ConfigError, match="no checkpoint"):
            ranking(run, {}, {}, ranks)
        search_day(run, 0, ranks)
        aggregate_run(folder)
        networks = {name: architecture_of(run, name) for name in NAMES}
        judged = ranking(run, networks, dict(zip(NAMES, (0.7, 0.6, 0.5), strict=True)), ranks)
    assert judged["networks"] == 3
    assert -1 <= judged["kendall_tau"] <= 1
    aucs = list(judged["supernet_auc"].values())
    assert np.isfinite(aucs).all()
    assert len(set(aucs)) == 3, "each network is run as itself"
