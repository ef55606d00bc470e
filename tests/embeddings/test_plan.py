"""Plans: what the planner is told, what the file holds and refuses, what people read, and what happens when nothing fits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.schema import JaggedFeature, Schema, SparseFeature
from embeddings.config import EmbeddingConfig, TableConstraints
from embeddings.errors import DoesNotFit, TableError
from embeddings.plan import Memory, Plan
from embeddings.plan_text import human_bytes, plan_text
from embeddings.planner import GIB, Machine, make_plan

SCHEMA = Schema("label", (), (SparseFeature("zip", 1000), SparseFeature("ad", 60_000), SparseFeature("hour", 24)))
MIB = 2**20


def machine(world_size: int = 2, ranks_per_host: int | None = None, device: str = "cpu", memory: int = GIB) -> Machine:
    return Machine(device, world_size, ranks_per_host or world_size, memory if device == "cuda" else 0, memory)


def sharding(plan: Plan) -> dict[str, str]:
    return {table.name: table.sharding for table in plan.tables}


def test_constraints_of_the_config_and_of_single_tables_are_kept() -> None:
    wish = {"ad": TableConstraints(sharding=("row_wise",)), "hour": TableConstraints(sharding=("data_parallel",))}
    plan = make_plan(SCHEMA, EmbeddingConfig(dim=8, sharding=("table_wise",), tables=wish), machine(3), 96)
    assert sharding(plan) == {"t_zip": "table_wise", "t_ad": "row_wise", "t_hour": "data_parallel"}
    zip_codes, ad, hour = plan.tables
    assert [(shard.row, shard.rows) for shard in ad.shards] == [(0, 20_000), (20_000, 20_000), (40_000, 20_000)]
    assert (ad.ranks, hour.ranks, len(zip_codes.ranks)) == ([0, 1, 2], [0, 1, 2], 1)
    assert hour.kernel == "dense"
    assert ad.memory.weights == 60_000 * 8 * 4
    assert ad.memory.optimizer == 60_000 * 4
    assert ad.memory.buffers > 0
    assert ad.cost_ms > 0


def test_columns_are_cut_where_the_optimizer_allows_it() -> None:
    config = EmbeddingConfig(dim=16, optimizer="adagrad", sharding=("column_wise",), min_partition=4)
    table = make_plan(SCHEMA, config, machine(2), 96).tables[1]
    assert [(shard.column, shard.columns) for shard in table.shards] == [(0, 4), (4, 4), (8, 4), (12, 4)]
    assert table.memory.optimizer == 60_000 * 16 * 4
    with pytest.raises(ValueError, match=r"rowwise_adagrad keeps one sum a row.*use optimizer = 'adagrad', or row_wise"):
        EmbeddingConfig(dim=16, sharding=("column_wise",), min_partition=4)
    with pytest.raises(ValueError, match=r"embedding.tables.ad.sharding = \['grid_shard'\]"):
        EmbeddingConfig(dim=16, min_partition=4, tables={"ad": TableConstraints(sharding=("grid_shard",))})


def test_left_alone_one_rank_holds_whole_tables_and_hosts_are_heeded() -> None:
    assert set(sharding(make_plan(SCHEMA, EmbeddingConfig(), machine(1), 96)).values()) == {"table_wise"}
    wish = EmbeddingConfig(sharding=("table_row_wise",))
    assert all(len(table.shards) == 2 for table in make_plan(SCHEMA, wish, machine(4, ranks_per_host=2), 96).tables)


def test_the_same_question_gets_the_same_plan() -> None:
    config = EmbeddingConfig(optimizer="adagrad", min_partition=8)
    assert make_plan(SCHEMA, config, machine(3), 96) == make_plan(SCHEMA, config, machine(3), 96)


@pytest.mark.parametrize("kernel", ["fused", "fused_uvm", "fused_uvm_caching"])
def test_kernels_for_gpus_can_be_planned_without_one(kernel: str) -> None:
    config = EmbeddingConfig(dim=128, kernels=(kernel,))  # type: ignore[arg-type]
    plan = make_plan(SCHEMA, config, machine(2, device="cuda"), 96)
    assert {table.kernel for table in plan.tables} == {kernel}
    assert (plan.tables[1].memory.host > 0) == (kernel != "fused")
    with pytest.raises(TableError, match=r"kernels \['fused_uvm'\] of feature zip need GPUs"):
        make_plan(SCHEMA, EmbeddingConfig(kernels=("fused_uvm",)), machine(2), 96)


def test_what_does_not_fit_is_said_with_what_to_do() -> None:
    config = EmbeddingConfig(dim=64)  # 61,024 rows of 64 floats and a sum: 15.1 MiB
    with pytest.raises(DoesNotFit, match=r"need 15\.1 MiB .* have 2 x 4\.0 MiB .*; take at least 4 ranks, a smaller embedding"):
        make_plan(SCHEMA, config, machine(2, memory=4 * MIB), 96)
    wide = dataclasses.replace(config, sharding=("table_wise",))
    with pytest.raises(DoesNotFit, match=r"allow row_wise in embedding.sharding, since t_ad alone takes 14\.9 MiB"):
        make_plan(SCHEMA, wide, machine(4, memory=8 * MIB), 96)
    assert sharding(make_plan(SCHEMA, config, machine(4, memory=8 * MIB), 96))["t_ad"] == "row_wise"


def test_memory_is_of_the_machine_or_of_the_config() -> None:
    found = Machine.of(EmbeddingConfig(), 2, 2, "cpu")
    forced = Machine.of(EmbeddingConfig(ddr_gb=10.0, hbm_gb=4.0), 4, 2, "cuda")
    assert MIB < found.capacity
    assert (forced.capacity, forced.ddr, forced.ranks_per_host) == (int(3.4 * GIB), int(4.25 * GIB), 2)
    with pytest.raises(TableError, match=r"3 ranks do not fill hosts of 2"):
        Machine.of(EmbeddingConfig(), 3, 2, "cpu")


def test_buffers_and_costs_follow_the_length_of_lists() -> None:
    schema = Schema("label", (), (SparseFeature("zip", 1000),), (JaggedFeature("seen", 1000, max_length=50),))
    plans = [make_plan(schema, EmbeddingConfig(dim=8), machine(2), 96, lengths) for lengths in ({"seen": 0.0}, {"seen": 9.5}, None)]
    none, some, full = ([table.memory.buffers for table in plan.tables] for plan in plans)
    assert none[0] == some[0] == full[0]
    assert none[1] < some[1] < full[1]
    assert plans[0].tables[1].cost_ms < plans[1].tables[1].cost_ms < plans[2].tables[1].cost_ms
    with pytest.raises(TableError, match=r"embedding\.tables\.sen: the data has no such feature; it has zip, seen"):
        make_plan(schema, EmbeddingConfig(tables={"sen": TableConstraints()}), machine(), 96)


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(TableError, match=r"embedding\.tables\.zap: the data has no such feature; it has zip, ad, hour"):
        make_plan(SCHEMA, EmbeddingConfig(tables={"zap": TableConstraints()}), machine(), 96)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(SCHEMA, EmbeddingConfig(dim=8, sharding=("row_wise",)), machine(2), 96)


def test_a_plan_can_be_written_and_used_again(tmp_path: Path, plan: Plan) -> None:
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    config = EmbeddingConfig(dim=8, plan=str(tmp_path / "plan.json"))
    assert make_plan(SCHEMA, config, machine(2), 96) == plan
    with pytest.raises(TableError, match=r"plan\.json is for 2 ranks and the job has 3 ranks; plan again for 3 ranks"):
        make_plan(SCHEMA, config, machine(3), 96)
    with pytest.raises(TableError, match=r"is for other tables: t_zip with 1000 rows x 8, the model has 500 rows|500 x 8"):
        make_plan(SCHEMA, dataclasses.replace(config, max_rows=500), machine(2), 96)
    fewer = Schema("label", (), SCHEMA.sparse[:2])
    with pytest.raises(TableError, match="is for other tables: the model has no t_hour"):
        make_plan(fewer, config, machine(2), 96)
    more = Schema("label", (), (*SCHEMA.sparse, SparseFeature("site", 5)))
    with pytest.raises(TableError, match="is for other tables: it does not name t_site"):
        make_plan(more, config, machine(2), 96)


def without_a_shard(raw: dict[str, Any]) -> None:
    raw["tables"][0]["shards"].pop()


def on_no_rank(raw: dict[str, Any]) -> None:
    raw["tables"][0]["shards"][0]["rank"] = 7


def of_uneven_blocks(raw: dict[str, Any]) -> None:
    first, second = raw["tables"][0]["shards"]
    first["rows"], second["row"], second["rows"] = 300, 300, 700


def in_another_order(raw: dict[str, Any]) -> None:
    first, second = raw["tables"][0]["shards"]
    first["rank"], second["rank"] = 1, 0


def listed_in_another_order(raw: dict[str, Any]) -> None:
    raw["tables"][0]["shards"].reverse()


def of_another_kind(raw: dict[str, Any]) -> None:
    raw["tables"][0]["sharding"] = "table_wise"


def overlapping(raw: dict[str, Any]) -> None:
    raw["tables"][0]["shards"][1]["row"] = 0


def misspelt(raw: dict[str, Any]) -> None:
    raw["tables"][0]["sharding"] = "row_wize"


def by_a_rank_in_words(raw: dict[str, Any]) -> None:
    raw["tables"][0]["shards"][0]["rank"] = "0"


def by_a_fraction(raw: dict[str, Any]) -> None:
    raw["tables"][0]["shards"][0]["rows"] = 500.0


def with_a_table_twice(raw: dict[str, Any]) -> None:
    raw["tables"].append(raw["tables"][0])


def on_an_unknown_kernel(raw: dict[str, Any]) -> None:
    raw["tables"][0]["kernel"] = "fast"


def on_a_kernel_that_does_not_train(raw: dict[str, Any]) -> None:
    raw["tables"][0]["kernel"] = "dense"


def on_a_kernel_for_gpus(raw: dict[str, Any]) -> None:
    raw["tables"][0]["kernel"] = "fused_uvm"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_shard, "the shards of t_zip do not cover it once"),
        (on_no_rank, "t_zip has a shard at 0, 0 on rank 7"),
        (of_uneven_blocks, "the rows of t_zip must be cut into blocks of 500, one a rank in order"),
        (in_another_order, "the rows of t_zip must be cut into blocks of 500"),
        (listed_in_another_order, "the shards of t_zip must stand in order"),
        (of_another_kind, "t_zip is table_wise, and is not cut so"),
        (overlapping, "the shards of t_zip do not cover it once"),
        (misspelt, r"tables\.0\.sharding = 'row_wize'"),
        (by_a_rank_in_words, r"tables\.0\.shards\.0\.rank = '0'"),
        (by_a_fraction, r"tables\.0\.shards\.0\.rows = 500\.0"),
        (with_a_table_twice, "plan.json names a table twice"),
        (on_an_unknown_kernel, "kernel 'fast' of t_zip, which is row_wise: must be fused, "),
        (on_a_kernel_that_does_not_train, "kernel 'dense' of t_zip"),
        (on_a_kernel_for_gpus, "t_zip has kernel 'fused_uvm', which needs GPUs"),
    ],
)
def test_a_plan_edited_into_nonsense_is_refused(tmp_path: Path, plan: Plan, change: Any, message: str) -> None:
    change(raw := json.loads(json.dumps(plan.to_json())))
    (tmp_path / "plan.json").write_text(json.dumps(raw))
    with pytest.raises(TableError, match=message):
        make_plan(SCHEMA, EmbeddingConfig(dim=8, plan=str(tmp_path / "plan.json")), machine(2), 96)


def test_a_plan_is_held_to_what_the_optimizer_can_do(tmp_path: Path, plan: Plan) -> None:
    """Under a plan of fused tables Adam would have been plain SGD."""
    plan.write(tmp_path / "plan.json")
    with pytest.raises(TableError, match=r"plan\.json: t_zip\.sharding = \['row_wise'\]: adam goes over whole tables"):
        make_plan(SCHEMA, EmbeddingConfig(dim=8, optimizer="adam", plan=str(tmp_path / "plan.json")), machine(2), 96)
    cut = EmbeddingConfig(dim=16, optimizer="adagrad", sharding=("column_wise",), min_partition=4)
    make_plan(SCHEMA, cut, machine(2), 96).write(tmp_path / "columns.json")
    with pytest.raises(TableError, match=r"columns\.json: t_zip\.sharding = .* rowwise_adagrad keeps one sum a row"):
        make_plan(SCHEMA, EmbeddingConfig(dim=16, plan=str(tmp_path / "columns.json")), machine(2), 96)


def test_a_plan_for_other_hosts_is_refused_where_that_matters(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    for kind, others_too in (("row_wise", True), ("table_row_wise", False)):
        made = make_plan(SCHEMA, EmbeddingConfig(dim=8, sharding=(kind,)), machine(4, ranks_per_host=2), 96)  # type: ignore[arg-type]
        made.write(path)
        config = EmbeddingConfig(dim=8, plan=str(path))
        assert make_plan(SCHEMA, config, machine(4, ranks_per_host=2), 96) == made
        if others_too:
            assert make_plan(SCHEMA, config, machine(4), 96) == made
        else:
            with pytest.raises(TableError, match="t_zip is table_row_wise, for hosts of 2 ranks and the job's have 4"):
                make_plan(SCHEMA, config, machine(4), 96)


@pytest.mark.parametrize("kind", ["table_wise", "column_wise", "row_wise", "table_row_wise", "grid_shard", "data_parallel"])
@pytest.mark.parametrize(("world_size", "hosts_of"), [(4, 2), (6, 3)])
def test_what_the_planner_makes_is_taken_from_a_file(tmp_path: Path, kind: Any, world_size: int, hosts_of: int) -> None:
    tiny = Schema("label", (), (*SCHEMA.sparse, SparseFeature("flag", 3), SparseFeature("odd", 13)))
    config = EmbeddingConfig(dim=8, optimizer="adagrad", sharding=(kind,), min_partition=4)
    made = make_plan(tiny, config, machine(world_size, hosts_of), 96)
    made.write(tmp_path / "plan.json")
    assert make_plan(tiny, dataclasses.replace(config, plan=str(tmp_path / "plan.json")), machine(world_size, hosts_of), 96) == made


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 9}', '{"format_version": 1, "tables": [3]}'])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(TableError, match=r"plan\.json holds no sharding plan .*`recsys-nas plan` writes one"):
        Plan.read(tmp_path / "plan.json")
    with pytest.raises(TableError, match=r"cannot read the plan .*missing\.json: No such file"):
        Plan.read(tmp_path / "missing.json")


def test_the_plan_is_a_table_for_people(plan: Plan) -> None:
    lines = plan_text(plan).splitlines()
    assert lines[0] == "sharding plan for 2 ranks (cpu) on 1 host"
    assert lines[2].split() == ["table", "rows", "dim", "bytes", "sharding", "kernel", "ranks", "cost", "ms"]
    ad = next(line for line in lines if line.startswith("t_ad"))
    assert ad.split()[1:7] == ["60,000", "8", "2.1", "MiB", "row_wise", "fused"]
    rank = next(line for line in lines if line.startswith("1 "))
    assert rank.split()[1:5] == ["953.5", "KiB", "119.2", "KiB"]
    assert plan.memory_by_rank()[0].weights == (500 + 30_000 + 12) * 8 * 4


def test_bytes_for_people() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1536, 5 * MIB, 3 * GIB)] == ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.00 GiB"]
    assert (Memory(1, 2, 3, 1) + Memory(1, 1, 1)).on_device == 8
