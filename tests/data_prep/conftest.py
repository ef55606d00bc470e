"""Small logs and shards of the synthetic world, made once for all tests that only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.inputs import find_days
from data_prep.prepare import PrepareOptions, prepare
from data_prep.schema import criteo_schema
from data_prep.synth import SynthParameters, synthesise

BUCKETS = 500
PARAMETERS = SynthParameters(seed=3, rows_per_day=2500, days=3)
OPTIONS = PrepareOptions(criteo_schema(BUCKETS), BUCKETS, part_rows=1000, max_bad_share=0.001)


@pytest.fixture(scope="session")
def parameters() -> SynthParameters:
    return PARAMETERS


@pytest.fixture(scope="session")
def options() -> PrepareOptions:
    return OPTIONS


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    synthesise(folder, PARAMETERS, workers=1)
    return folder


@pytest.fixture(scope="session")
def shards(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of three parts: 1000, 1000 and 500 rows. Not to be changed; copy it first."""
    folder = tmp_path_factory.mktemp("shards")
    prepare(folder, find_days([f"{raw}/day_*"]), OPTIONS, workers=1)
    return folder
