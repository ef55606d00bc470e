"""A config a user wrote is read strictly: every fault stops the run with one line that names the key."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_nas.config import Config, ConfigError, from_mapping, load_config, to_toml
from recsys_nas.space import space_from_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("**/*.toml"))

# Every setting a user may make. Each new one is a cost to every reader of the docs: add it here only on purpose.
SETTINGS = [
    "data.search_days",
    "data.shards",
    "data.staging",
    "data.test_day",
    "data.train_days",
    "data.truth",
    "data.valid_days",
    "embedding.ddr_gb",
    "embedding.device",
    "embedding.dim",
    "embedding.eps",
    "embedding.hbm_gb",
    "embedding.init_scale",
    "embedding.kernels",
    "embedding.learning_rate",
    "embedding.max_rows",
    "embedding.min_partition",
    "embedding.optimizer",
    "embedding.pipeline",
    "embedding.plan",
    "embedding.pooling",
    "embedding.ranks_per_host",
    "embedding.sharding",
    "embedding.tables",
    "embedding.weight_decay",
    "launch.collective_timeout_minutes",
    "launch.cpus",
    "launch.environment",
    "launch.gpus",
    "launch.image",
    "launch.max_parallel",
    "launch.memory_mb",
    "launch.min_days",
    "launch.mounts",
    "launch.nnodes",
    "launch.nproc_per_node",
    "launch.resource",
    "launch.retries",
    "launch.scheduler",
    "launch.scheduler_options",
    "launch.timeout_minutes",
    "name",
    "output",
    "retrain.batch_norm",
    "retrain.batch_size",
    "retrain.checkpoint_best",
    "retrain.checkpoint_every_steps",
    "retrain.checkpoint_keep",
    "retrain.clip_norm",
    "retrain.compile",
    "retrain.dropout",
    "retrain.epochs",
    "retrain.eps",
    "retrain.hold_epochs",
    "retrain.initialisation",
    "retrain.learning_rate",
    "retrain.lr_cut",
    "retrain.lr_decay",
    "retrain.lr_final_share",
    "retrain.lr_power",
    "retrain.lr_warmup_share",
    "retrain.models",
    "retrain.monitor",
    "retrain.patience",
    "retrain.precision",
    "retrain.progressive",
    "retrain.random_controls",
    "retrain.seeds",
    "retrain.shuffle",
    "retrain.sizes",
    "retrain.weight_decay",
    "search.aggregation",
    "search.alpha_betas",
    "search.alpha_eps",
    "search.alpha_learning_rate",
    "search.alpha_steps_share",
    "search.alpha_weight_decay",
    "search.batch_size",
    "search.checkpoint_best",
    "search.checkpoint_every_steps",
    "search.checkpoint_keep",
    "search.clip_norm",
    "search.compile",
    "search.cost_weight",
    "search.decoys",
    "search.discretise",
    "search.dropout",
    "search.epochs",
    "search.eps",
    "search.final_temperature",
    "search.learning_rate",
    "search.levels",
    "search.lr_decay",
    "search.lr_final_share",
    "search.lr_power",
    "search.lr_warmup_share",
    "search.max_rows",
    "search.noise",
    "search.precision",
    "search.recency_half_life",
    "search.removal_bound",
    "search.removal_share",
    "search.schedule_steps",
    "search.settle_share",
    "search.settle_tolerance",
    "search.shuffle",
    "search.strategy",
    "search.target_flops",
    "search.target_weight",
    "search.temperature",
    "search.threshold",
    "search.top_k",
    "search.warmup_share",
    "search.weight_decay",
    "seed",
    "space.connect",
    "space.dense_modules",
    "space.dense_widths",
    "space.head",
    "space.linear_skip",
    "space.max_sources",
    "space.merger_tokens",
    "space.name",
    "space.normalisation",
    "space.num_blocks",
    "space.pick",
    "space.sparse_modules",
    "space.stem",
    "space.token_counts",
    "trials.children",
    "trials.finalists",
    "trials.finetune_rows",
    "trials.flops_weight",
    "trials.full_path_share",
    "trials.init_scales",
    "trials.judgements",
    "trials.learning_rates",
    "trials.max_flops",
    "trials.path_sampling",
    "trials.population",
    "trials.proxy",
    "trials.proxy_searcher",
    "trials.proxy_warmup_share",
    "trials.reward_baseline",
    "trials.rows",
    "trials.rows_per_trial",
    "trials.seconds",
    "trials.supernet_eps",
    "trials.supernet_learning_rate",
    "trials.tournament",
    "trials.validation_rows",
    "trials.validation_share",
    "trials.warm_start",
]


def settings_of(config: Any, prefix: str = "") -> list[str]:
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        names += settings_of(value, f"{prefix}{field.name}.") if dataclasses.is_dataclass(value) else [f"{prefix}{field.name}"]
    return sorted(names)


def read(text: str, folder: Path, *overrides: str) -> Config:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


def test_no_setting_appears_or_goes_unseen() -> None:
    assert settings_of(Config("x")) == SETTINGS


def test_there_are_configs_to_test() -> None:
    assert "demo.toml" in [path.name for path in CONFIGS]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_in_the_repository_loads_and_its_space_exists(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert space_from_config(config.space, 13, 26, config.embedding.dim).gates
    assert from_mapping(tomllib.loads(to_toml(config)), "written") == config


def test_a_file_names_only_what_differs(tmp_path: Path) -> None:
    config = read("[search]\nbatch_size = 64\n", tmp_path)
    default = Config("experiment")
    assert config == dataclasses.replace(default, search=dataclasses.replace(default.search, batch_size=64))
    assert config.run_folder == Path("runs/experiment")
    assert read('name = "other"\noutput = "/big"\n', tmp_path).run_folder == Path("/big/other")


CHANGED = {
    "name": "näme",
    "seed": 2**40,
    "output": 'a "quoted" \\ folder',
    "data": {"shards": "s", "search_days": "0,2-3", "train_days": "1", "test_day": 7, "truth": "t"},
    "embedding": {"dim": 8, "max_rows": 100, "optimizer": "sgd", "learning_rate": 1e-3, "eps": 1e-10, "init_scale": 0.5},
    "space": {"name": "dhen", "dense_widths": [5, 4], "dense_modules": ["fm"], "sparse_modules": [], "linear_skip": False},
    "search": {"alpha_betas": [0.1, 0.9], "cost_weight": 0, "warmup_share": 0, "threshold": 0.25},
    "retrain": {"models": ["mlp"], "seeds": [5], "batch_size": 3, "learning_rate": 1, "epochs": 2},
    "launch": {"scheduler": "slurm", "scheduler_options": {"partition": "cpu", "time": "00:10:00"}, "gpus": 2, "timeout_minutes": 0.5},
}


def test_the_resolved_config_reads_back_equal(tmp_path: Path) -> None:
    config = from_mapping(CHANGED, "test")
    assert read(to_toml(config), tmp_path) == config
    written = tomllib.loads(to_toml(Config("x")))
    told = [
        name if not isinstance(value, dict) else f"{name}.{inner}"
        for name, value in written.items()
        for inner in (value if isinstance(value, dict) else [""])
    ]
    assert sorted(told) == SETTINGS, "every default is written out"


@settings(max_examples=20, deadline=None)
@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(lambda name: name not in (".", "..")),
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    seeds=st.lists(st.integers(0, 2**62), unique=True, min_size=1),
)
def test_odd_values_survive_the_way_through_toml(name: str, rate: float, seeds: list[int]) -> None:
    config = from_mapping({"name": name, "search": {"learning_rate": rate}, "retrain": {"seeds": seeds}}, "test")
    assert from_mapping(tomllib.loads(to_toml(config)), "again") == config
    assert config.search.learning_rate == rate


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[search]\nbatchsize = 3", "unknown key search.batchsize; did you mean search.batch_size?"),
        ("[serach]\nbatch_size = 3", "unknown key serach; did you mean search?"),
        ("colour = 3", "unknown key colour; known here: name, seed, output"),
        ("[search]\nsection = 'x'", "unknown key search.section; "),
        ("[space]\nqqq = 1", "unknown key space.qqq; known here: name, num_blocks"),
        ("search = 3", "search = 3: must be a section, [search]"),
        ("seed = '1'", "seed = '1': "),
        ("seed = 1.0", "seed = 1.0: "),
        ("seed = true", "seed = True: "),
        ("seed = 2026-11-21", "seed = '2026-11-21': "),
        ("[data]\nsearch_days = 3", "data.search_days = 3: Input should be a valid string; write it in quotes"),
        ("[search]\nlearning_rate = '1e-3'", "search.learning_rate = '1e-3': "),
        ("[search]\nalpha_betas = [0.5]", "search.alpha_betas.1"),
        ("[search]\nalpha_betas = [0.5, 0.9, 1.0]", "search.alpha_betas"),
        ("[space]\ndense_modules = 'fm'", "space.dense_modules = 'fm': "),
        ("[space]\ndense_modules = [1]", "space.dense_modules.0 = 1: "),
        ("[space]\nname = 'nasrec'", "space.name = 'nasrec': Input should be 'distdnas'"),
        ("[search]\naggregation = 'median'", "search.aggregation = 'median': Input should be 'mean', 'logit_mean', 'majority'"),
        (
            "[embedding]\noptimizer = 'lamb'",
            "embedding.optimizer = 'lamb': choose one of rowwise_adagrad, adagrad, sgd, adam (this one works",
        ),
        (
            "[embedding.tables.C1]\nshardin = ['row_wise']",
            "unknown key embedding.tables.C1.shardin; did you mean embedding.tables.C1.sharding?",
        ),
        ("[embedding.tables.C1]\nsharding = ['rowwise']", "embedding.tables.C1.sharding.0 = 'rowwise': Input should be 'table_wise'"),
        ("[embedding.tables]\nC1 = 3", "embedding.tables.C1 = 3: must be a section, [embedding.tables.C1]"),
        ("[launch.scheduler_options]\nnodes = 3", "launch.scheduler_options.nodes = 3: "),
    ],
)
def test_unknown_keys_and_wrong_types_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path}/experiment.toml: {message}"), told
    assert "\n" not in told


BAD_VALUES = {
    "data.search_days": ["'0-5'", "''", "'a'", "'3-1'", "'0-4,3-1'", "'1-'", "'-1'", "'0--2'", "'1,,2'", "'1.5'", "'1_0'"],
    "data.train_days": ["'5'", "'x'"],
    "embedding.dim": ["0", "-4", "6"],
    "embedding.max_rows": ["-1"],
    "embedding.learning_rate": ["0.0", "-1.0", "nan", "inf"],
    "embedding.eps": ["-1e-8", "nan"],
    "embedding.init_scale": ["0.0", "inf"],
    "embedding.weight_decay": ["-1.0", "nan"],
    "embedding.min_partition": ["-4", "3", "12"],
    "embedding.hbm_gb": ["-1.0"],
    "embedding.optimizer": ["lamb", "adm"],
    "space.num_blocks": ["0"],
    "space.dense_widths": ["[0]", "[]", "[8, 8]"],
    "space.token_counts": ["[-1]"],
    "space.max_sources": ["0"],
    "space.merger_tokens": ["-1"],
    "search.batch_size": ["0"],
    "search.learning_rate": ["0.0", "nan", "inf"],
    "search.alpha_learning_rate": ["-0.1", "nan"],
    "search.alpha_betas": ["[0.5, 1.0]", "[-0.1, 0.9]", "[nan, 0.9]"],
    "search.temperature": ["0.0"],
    "search.cost_weight": ["-0.1", "nan", "inf"],
    "search.final_temperature": ["-0.1", "nan"],
    "search.noise": ["row"],
    "search.levels": ["bi"],
    "search.alpha_steps_share": ["0.0", "1.0", "nan"],
    "search.target_flops": ["-1"],
    "search.target_weight": ["-0.1", "inf"],
    "search.warmup_share": ["1.0", "-0.1", "nan"],
    "search.removal_bound": ["-0.1", "0.5", "nan"],
    "search.removal_share": ["1.0", "-0.1"],
    "search.schedule_steps": ["-1"],
    "search.settle_share": ["1.0", "nan"],
    "search.settle_tolerance": ["1.0", "-0.1"],
    "search.decoys": ["-1"],
    "search.recency_half_life": ["0.0", "inf"],
    "search.discretise": ["budget", "bottom_k"],
    "search.top_k": ["0"],
    "search.threshold": ["0.0", "1.0", "nan"],
    "search.checkpoint_every_steps": ["0"],
    "search.checkpoint_keep": ["0"],
    "search.lr_warmup_share": ["1.0", "-0.1"],
    "search.lr_final_share": ["1.5"],
    "search.max_rows": ["-1"],
    "search.alpha_weight_decay": ["-1.0"],
    "retrain.lr_power": ["0.0"],
    "retrain.weight_decay": ["-0.1"],
    "retrain.sizes": ["{ mlp = { hidden = [-1] } }", "{ dcnv2 = { crosses = -1 } }", '{ finalmlp = { contexts = ["C1"] } }'],
    "retrain.seeds": ["[]", "[0, 0]", "[-1]"],
    "retrain.batch_size": ["0"],
    "retrain.learning_rate": ["0.0"],
    "retrain.epochs": ["0"],
    "launch.nnodes": ["0"],
    "launch.nproc_per_node": ["0"],
    "launch.min_days": ["-1"],
    "launch.cpus": ["0"],
    "launch.memory_mb": ["0"],
    "launch.timeout_minutes": ["0.0", "nan"],
    "launch.collective_timeout_minutes": ["0.0"],
    "launch.max_parallel": ["-1"],
    "launch.retries": ["-1"],
    "launch.gpus": ["-1"],
    "seed": ["-1"],
    "name": ["''", "'..'", "'.'", "'a/b'", "'/tmp'"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values])
def test_values_that_make_no_sense_are_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Path(__file__).parents[2] / "configs" / "demo.toml", [f"{key}={value}"])
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_test_day_may_not_be_trained_or_searched_on(tmp_path: Path) -> None:
    for name in ("search_days", "train_days"):
        with pytest.raises(ConfigError, match=rf"data\.{name} = '0-2' holds the test day 1"):
            read("[data]\ntest_day = 1\nsearch_days = '0'\ntrain_days = '0'", tmp_path, f"data.{name}=0-2")


def test_a_file_that_is_no_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*missing\.toml: No such file or directory; configs/demo\.toml"):
        load_config(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match=r"cannot read the config .*: Is a directory"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match=r"experiment\.toml is not valid TOML: "):
        read("[search\n", tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe4'")
    with pytest.raises(ConfigError, match=r"latin\.toml is not valid TOML: "):
        load_config(tmp_path / "latin.toml")
