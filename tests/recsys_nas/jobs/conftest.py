"""A run folder over small fabricated shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys_nas.config import from_mapping, load_config, to_toml
from tests.fabricated_shards import write_shards


def write_run(folder: Path, lists: bool = False, without_clicks: tuple[int, ...] = ()) -> Path:
    """A run over 2 days of 2,048 rows and a test day, its config written; with a column of lists where `lists`."""
    shards = folder / "shards"
    write_shards(shards, 3, (1536, 512), lists, without_clicks)
    config = from_mapping(
        {
            "name": "run",
            "output": str(folder),
            "data": {"shards": str(shards), "search_days": "0-1", "train_days": "0-1", "test_day": 2},
            "embedding": {"dim": 4},
            "space": {
                "dense_widths": [8],
                "token_counts": [2],
                "dense_modules": ["linear", "fm", "dot_product"],
                "sparse_modules": ["embedded_fc"],
            },
            "search": {"batch_size": 128, "checkpoint_every_steps": 5},
            "retrain": {"models": ["mlp"], "seeds": [0, 1], "batch_size": 128},
        },
        where="test",
    )
    config.run_folder.mkdir()
    (config.run_folder / "config.toml").write_text(to_toml(config))
    return config.run_folder


def set_options(run_folder: Path, section: str, **values: object) -> None:
    """Change a section of the run's config."""
    overrides = [f"{section}.{name}={json.dumps(value)}" for name, value in values.items()]
    (run_folder / "config.toml").write_text(to_toml(load_config(run_folder / "config.toml", overrides)))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path)
