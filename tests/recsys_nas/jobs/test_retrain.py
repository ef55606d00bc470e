"""A model is trained, judged and priced; what cannot be built is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from data_prep.atomic import write_json
from recsys_nas.config import ConfigError, load_config
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.networks import build_network
from recsys_nas.jobs.retrain import retrain
from recsys_nas.modules.normalised import BatchNorm
from recsys_nas.space import Architecture, Block

FM = Architecture(2, 3, 4, (Block.reading((0,), ("fm",), 8),), (1,))


def result(folder: Path, model: str, seed: int) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "retrain" / model / f"seed={seed}" / "result.json").read_text())
    return value


def test_the_found_network_is_trained_judged_and_priced(run_folder: Path, ranks: Ranks) -> None:
    write_json(run_folder / "architecture.json", FM.to_json())
    config = run_folder / "config.toml"
    config.write_text(config.read_text().replace("epochs = 1", "epochs = 8"))
    run = Run.open(run_folder)
    retrain(run, "found", 0, ranks)
    judged = result(run_folder, "found", 0)
    assert judged["auc"] > 0.65, "the planted pair was not learnt"
    assert judged["test_rows"] == 2048
    # fm 4 -> 8, head of 8, skip of 2 + 3 * 4
    assert judged["dense_flops"] == 2 * (4 * 8 + 8 + 14)
    assert sum(cost["flops"] for cost in judged["cost_by_module"]) == judged["dense_flops"]
    assert (judged["lookup_flops"], judged["lookup_bytes"]) == (3 * 4, 3 * 4 * 4)
    assert judged["dense_params"] == (4 * 8 + 8) + 8 + 14 + 1
    assert judged["embedding_params"] == (11 + 7 + 5) * 4
    assert sum(group["rows"] for group in judged["calibration_bins"]) == 2048
    assert [point["rows"] for point in judged["learning_curve"]][-1] == judged["train_rows"] == 8 * 4096


def test_seeds_differ_and_the_same_seed_repeats(run_folder: Path, ranks: Ranks) -> None:
    run = Run.open(run_folder)
    retrain(run, "mlp", 0, ranks)
    retrain(run, "mlp", 1, ranks)
    first, second = result(run_folder, "mlp", 0), result(run_folder, "mlp", 1)
    assert first["logloss"] != second["logloss"]
    for path in (run_folder / "retrain" / "mlp" / "seed=0").iterdir():
        if path.is_file():
            path.unlink()
    (run_folder / "retrain" / "mlp" / "seed=0" / "checkpoint").rename(run_folder / "kept")
    retrain(run, "mlp", 0, ranks)
    assert result(run_folder, "mlp", 0)["logloss"] == first["logloss"]


def test_a_finished_seed_is_left_alone(run_folder: Path, ranks: Ranks) -> None:
    write_json(run_folder / "retrain" / "mlp" / "seed=0" / "result.json", {"auc": 0.5})
    retrain(Run.open(run_folder), "mlp", 0, ranks)
    assert result(run_folder, "mlp", 0) == {"auc": 0.5}


@pytest.mark.parametrize(
    ("model", "architecture", "message"),
    [
        ("dlmr", None, r"no model is named 'dlmr'; did you mean 'dlrm'"),
        ("found", None, r"architecture\.json is missing; run `recsys-nas aggregate .*run` first"),
        ("refined", None, r"refine/architecture\.json is missing; run `recsys-nas refine .*run` first"),
        (
            "found",
            Architecture(2, 3, 8, FM.blocks, (1,)),
            r"is for \(dense, sparse, embedding dim\) = \(2, 3, 8\), this run has \(2, 3, 4\)",
        ),
    ],
)
def test_models_that_cannot_be_built_are_named(run_folder: Path, model: str, architecture: Architecture | None, message: str) -> None:
    if architecture is not None:
        write_json(run_folder / "architecture.json", architecture.to_json())
    with pytest.raises(ConfigError, match=message):
        build_network(Run.open(run_folder), model)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("small = { model = 'finalmlp', num_heads = 7 }", r"'small' cannot be built of these features and sizes: .*heads"),
        ("small = { model = 'autoint_plus', num_heads = 3 }", r"3 heads do not divide an attention of 256"),
        ("small = { model = 'dhen', hidden = [3] }", r"retrain.sizes.small.hidden: dhen has no such size"),
    ],
)
def test_sizes_that_a_model_cannot_have_are_told(run_folder: Path, sizes: str, message: str) -> None:
    run = Run.open(run_folder)
    config = load_config(run_folder / "config.toml", [f"retrain.sizes={{ {sizes} }}"])
    with pytest.raises(ConfigError, match=message):
        build_network(replace(run, config=config), "small")


@pytest.mark.parametrize("model", ["nasrecnet", "dhen", "wukong", "mlp"])
def test_every_model_of_the_zoo_is_dropped_and_normalised_alike(run_folder: Path, model: str) -> None:
    run = Run.open(run_folder)
    config = load_config(run_folder / "config.toml", ["retrain.dropout=0.5", "retrain.batch_norm=true"])
    network = build_network(replace(run, config=config), model).train()
    dense, tokens = torch.randn(8, run.sizes[0]), torch.randn(8, run.sizes[1], run.sizes[2])
    assert not torch.equal(network(dense, tokens), network(dense, tokens))
    assert any(isinstance(module, BatchNorm | nn.BatchNorm1d) for module in network.modules()) or model == "dhen"


def test_interactions_beat_a_logistic_regression_on_a_planted_pair(run_folder: Path, ranks: Ranks) -> None:
    aucs: list[float] = []
    for architecture in (Architecture(2, 3, 4, (), ()), FM):
        write_json(run_folder / "architecture.json", architecture.to_json())
        retrain(Run.open(run_folder), "found", len(aucs), ranks)
        aucs.append(result(run_folder, "found", len(aucs))["auc"])
    assert aucs[1] > aucs[0] + 0.02


@pytest.mark.parametrize("model", ["found", "random-00"])
def test_a_result_of_another_architecture_is_refused(run_folder: Path, ranks: Ranks, model: str) -> None:
    run = Run.open(run_folder)
    write_json(run_folder / "architecture.json", run.space().full().to_json())
    retrain(run, model, 0, ranks)
    retrain(run, model, 0, ranks)
    write_json(run_folder / "architecture.json", FM.to_json())
    with pytest.raises(ConfigError, match=rf"result.json is of another network than .*architecture.json holds now; remove .*{model}"):
        retrain(run, model, 0, ranks)


def test_a_hundred_random_controls_have_names(run_folder: Path) -> None:
    write_json(run_folder / "architecture.json", FM.to_json())
    with pytest.raises(ConfigError, match=r"retrain.random_controls = 101: \d+ networks"):
        build_network(Run.open(run_folder), "random-100")
