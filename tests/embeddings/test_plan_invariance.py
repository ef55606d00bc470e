"""Weights, logits and training are the same under every sharding type, on one, two and three ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_nas.jobs.environment import Ranks
from tests.embeddings.training_by_plan import KINDS, SCHEMA, STEPS, WHOLE_ROWS, cases, train
from tests.rank_processes import run_on_ranks

# fbgemm's dense lookup, of data-parallel tables, says once a process that its CPU gradient is not registered as torch would like;
# the tests below show that the gradient is right.
pytestmark = pytest.mark.filterwarnings("ignore:fbgemm..dense_embedding_codegen_lookup_function")

Results = dict[str, Any]


def apart(first: object, second: object) -> float:
    return float(np.abs(np.asarray(first) - np.asarray(second)).max())


@pytest.fixture(scope="module")
def alone(ranks: Ranks) -> Results:
    return {name: train(case) for name, case in cases().items()}


def spawned(folder: Path, world_size: int, ranks_per_host: int | None = None) -> Results:
    run_on_ranks("tests.embeddings.training_by_plan", world_size, str(folder / "out.json"), ranks_per_host=ranks_per_host)
    results: Results = json.loads((folder / "out.json").read_text())
    return results


def assert_same_training(results: Results, alone: Results) -> None:
    assert set(results) == set(alone)
    for name, got in results.items():
        expected = alone[f"{name.split()[0]} table_wise"]
        assert got["tables"].keys() == expected["tables"].keys()
        for table, weights in expected["tables"].items():
            assert got["tables"][table] == weights, f"{name}: first weights of {table}"
            assert apart(got["trained"][table], expected["trained"][table]) < 1e-5, f"{name}: trained weights of {table}"
        assert apart(got["logits"], expected["logits"]) < 1e-6, f"{name}: first logits"
        assert len(got["losses"]) == STEPS
        assert apart(got["losses"], expected["losses"]) < 1e-5, f"{name}: losses"


def test_on_one_rank(alone: Results) -> None:
    assert_same_training(alone, alone)
    for optimizer in ("sgd", "adagrad", "rowwise_adagrad"):
        losses = alone[f"{optimizer} table_wise"]["losses"]
        assert losses[-1] < losses[0] - 0.02, "the tables learn nothing, so that a wrong plan could not be told from a right one"
    assert apart(alone["sgd table_wise"]["losses"], alone["decay table_wise"]["losses"]) > 1e-4, "weight decay does nothing"
    largest = {name: np.abs(np.asarray(alone[name]["trained"]["t_hour"])).mean() for name in ("sgd table_wise", "decay table_wise")}
    assert largest["decay table_wise"] < largest["sgd table_wise"]


@pytest.mark.parametrize("world_size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_on_several_ranks(tmp_path: Path, alone: Results, world_size: int) -> None:
    results = spawned(tmp_path, world_size)
    assert_same_training(results, alone)
    pieces = {"table_wise": 1, "column_wise": 2, "row_wise": world_size, "table_row_wise": world_size, "grid_shard": 2 * world_size}
    for kind in KINDS:
        planned = results[f"adagrad {kind}"]["sharding"]
        expected = [kind, "dense" if kind == "data_parallel" else "fused", pieces.get(kind, world_size)]
        assert planned == dict.fromkeys((f"t_{feature.name}" for feature in SCHEMA.sparse), expected)
    assert results["rowwise_adagrad mixed"]["sharding"]["t_zip"][0] == "data_parallel"
    assert {f"rowwise_adagrad {kind}" for kind in WHOLE_ROWS} < set(results)


@pytest.mark.slow
@pytest.mark.parametrize("ranks_per_host", [1, 2])
def test_on_two_hosts(tmp_path: Path, alone: Results, ranks_per_host: int) -> None:
    """Table-row-wise and grid sharding send across hosts by other ways than within one."""
    results = spawned(tmp_path, 2 * ranks_per_host, ranks_per_host)
    assert_same_training(results, alone)
    assert results["adagrad table_row_wise"]["sharding"]["t_ad"] == ["table_row_wise", "fused", ranks_per_host]


def test_first_weights_follow_the_seed_and_not_torch(alone: Results) -> None:
    torch.manual_seed(99)
    assert train(cases()["sgd table_wise"])["tables"] == alone["sgd table_wise"]["tables"]
