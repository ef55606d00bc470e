"""`recsys-nas cost`: what it prints adds up, and what it cannot use it names in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.atomic import write_json
from recsys_nas.cli import main
from recsys_nas.cost import dense_flops
from recsys_nas.space import Architecture, Block
from tests.fabricated_shards import write_shards

NETWORK = Architecture(2, 3, 4, (Block.reading((0,), ("linear", "fm"), 8, ("embedded_fc",), 2),), (1,))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_shards(tmp_path / "shards", days=1, rows_per_part=(8,))
    write_json(tmp_path / "found.json", NETWORK.to_json())
    return tmp_path


def run(files: Path, *options: str, model: str = "found.json", schema: str = "shards") -> int:
    network = str(files / model) if (files / model).exists() else model
    return main(["cost", network, "--schema", schema if schema == "criteo" else str(files / schema), *options])


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_the_parts_add_up_to_the_totals(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--device", "h200", "--batch", "64", "--tables", "int8", "--json") == 0
    cost = printed(capsys)
    total, parts = cost["total"], cost["parts"]
    assert (cost["device"]["name"], cost["batch"], cost["dtype"]) == ("h200", 64, "float32")
    assert total["dense_flops"] == dense_flops(NETWORK) == sum(part["flops"] for part in parts if part["module"] != "lookup")
    # int8 rows: 4 elements with scale and offset of 2 bytes each; 3 ids and 3 offsets of 4 bytes; 3 operations an element.
    assert total["lookup_bytes"] == 3 * (4 + 4) + 6 * 4
    assert total["lookup_flops"] == 3 * 4 * 3
    assert total["seconds"] == pytest.approx(sum(part["seconds"] for part in parts))
    assert total["bytes_per_batch"] == sum(part["bytes_per_batch"] for part in parts)
    assert [(part["block"], part["module"]) for part in parts] == [
        (0, "lookup"),
        (0, "joins"),
        (1, "embedded_fc"),
        (1, "fm"),
        (1, "linear"),
        (0, "head"),
        (0, "linear_skip"),
    ]


def test_the_table_has_a_line_a_module(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--device", "a100", "--batch", "8", "--dtype", "bfloat16") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"{dense_flops(NETWORK):,} dense FLOPs and 12 lookup FLOPs per example (1 multiply-add = 2)")
    assert "a100, NVIDIA A100 SXM 80 GB: 312 TFLOP/s in bfloat16, 2.039 TB/s, ridge point 153.0 FLOPs/byte" in lines[2]
    (linear,) = [line for line in lines if " linear " in line]
    assert linear.split()[:4] == ["1", "linear", str(2 * 14 * 8), str(14 * 8 + 8)]
    assert linear.endswith("memory")


def test_a_model_of_the_zoo(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--dim", "4", "--json", model="fm") == 0
    assert printed(capsys)["total"]["dense_flops"] == 2 * (2 + 3 * 4)


@pytest.mark.parametrize(
    ("options", "model", "schema", "message"),
    [
        (("--device", "h20"), "found.json", "shards", "--device h20: no such device profile; did you mean h200?"),
        (("--dtype", "int8"), "found.json", "shards", "--dtype int8: must be one of float32, bfloat16"),
        (("--tables", "int3"), "found.json", "shards", "'int3': tables are stored as one of float32"),
        (("--batch", "0"), "found.json", "shards", "--batch 0: must be at least 1"),
        (("--dim", "8"), "found.json", "shards", "found.json has embeddings of 4; leave it out"),
        ((), "dlrm", "shards", "--dim: the zoo's dlrm can have embeddings of any width"),
        ((), "lost.json", "shards", "'lost.json' is neither an architecture file nor a model of the zoo; known: dlrm"),
        ((), "dcnv3", "criteo", "'dcnv3' is neither an architecture file nor a model of the zoo; did you mean 'dcnv2'?"),
        (("--dim", "0"), "dcnv2", "criteo", "--dim 0: must be at least 1"),
        ((), "found.json", ".", "manifest.json is missing"),
        ((), "found.json", "criteo", "--schema criteo has 13 and 26; name the schema that it was searched on"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], model: str, schema: str, message: str
) -> None:
    assert run(files, *options, model=model, schema=schema) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
