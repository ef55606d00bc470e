"""A setting given on the command line: read as TOML or as words, put before the file, named when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys_nas.config import Config, ConfigError, load_config


def read(text: str, folder: Path, *overrides: str) -> Config:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("search.batch_size=1024", "search.batch_size", 1024),
        ("search.cost_weight=1e-3", "search.cost_weight", 1e-3),
        ("search.cost_weight=0", "search.cost_weight", 0.0),
        ("data.search_days=0-3", "data.search_days", "0-3"),
        ('data.search_days="3"', "data.search_days", "3"),
        ("data.shards=a/b=c", "data.shards", "a/b=c"),
        ("name=trial-7", "name", "trial-7"),
        ("name=", "name", None),
        ("retrain.seeds=[3, 4]", "retrain.seeds", (3, 4)),
        ('space.dense_modules=["fm"]', "space.dense_modules", ("fm",)),
        ("space.sparse_modules=[]", "space.sparse_modules", ()),
        ("launch.scheduler_options.partition=gpu", "launch.scheduler_options", {"partition": "gpu"}),
        ('launch.scheduler_options={partition = "gpu"}', "launch.scheduler_options", {"partition": "gpu"}),
    ],
)
def test_overrides_are_read_as_toml_or_as_words(tmp_path: Path, override: str, key: str, value: Any) -> None:
    if value is None:
        with pytest.raises(ConfigError, match="name = ''"):
            read("", tmp_path, override)
        return
    told: Any = read("", tmp_path, override)
    for part in key.split("."):
        told = getattr(told, part)
    assert told == value
    assert type(told) is type(value)


def test_overrides_go_before_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    text = "[search]\nbatch_size = 1\nthreshold = 0.4\n[launch.scheduler_options]\na = '1'\nb = '2'"
    config = read(text, tmp_path, "search.batch_size=2", "search.batch_size=3", 'launch.scheduler_options.b="9"')
    assert (config.search.batch_size, config.search.threshold) == (3, 0.4)
    assert config.launch.scheduler_options == {"a": "1", "b": "9"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.batch_size", "override 'search.batch_size': write it as section.key=value"),
        ("=3", "override '=3': write it as section.key=value"),
        ("search.batch_size.x=3", "override 'search.batch_size.x=3': batch_size is a value, not a section"),
        ("search.batchsize=3", "unknown key search.batchsize; did you mean search.batch_size?"),
        ("search.batch_size=many", "search.batch_size = 'many': "),
        ("search=3", "search = 3: must be a section"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read("[search]\nbatch_size = 1", tmp_path, override)
    assert message in str(caught.value)
