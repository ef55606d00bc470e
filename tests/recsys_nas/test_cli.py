"""The command line: each verb explains itself, bad input is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.atomic import write_json
from recsys_nas import cli
from recsys_nas.cost import dense_flops
from recsys_nas.space import Architecture, Block

FM = Architecture(2, 3, 4, (Block.reading((0,), ("fm",), 8),), (1,))


def test_show_prints_blocks_modules_and_costs_that_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "architecture.json"
    write_json(path, FM.to_json())
    assert cli.main(["show", str(path)]) == cli.SUCCESS
    shown = capsys.readouterr().out
    assert FM.key() in shown
    assert f"{dense_flops(FM)} dense FLOPs" in shown
    assert "block 1  makes 8 features" in shown
    assert "order sum   reads tokens of the stem" in shown
    prices = [int(line.split(" FLOPs")[0].split()[-1]) for line in shown.splitlines()[1:] if " FLOPs" in line]
    assert sum(prices) == dense_flops(FM)


GOLDEN = Path(__file__).parent / "golden"


def test_show_tells_what_never_reaches_the_head(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", str(GOLDEN / "nasrec_full_criteo.json")]) == cli.SUCCESS
    shown = capsys.readouterr().out
    assert "block 1  makes 128 features and 64 + 8 tokens" in shown
    assert "reads dense of block 1, block 2; tokens of the stem, block 1, block 2" in shown
    assert "adds an FM of its 32 tokens to its features" in shown
    assert "block 4" not in shown.split("left out")[0]
    assert "block 4 sigmoid_gating, block 4 embedded_fc, block 4 dense_to_tokens" in shown.split("left out, since")[1]


def test_show_draws_a_mermaid_graph_of_the_live_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "--mermaid", str(GOLDEN / "nasrec_full_criteo.json")]) == cli.SUCCESS
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "flowchart TD"
    made = {line.split("[")[0].split()[-1] for line in lines if "[" in line}
    arrows = [line.split() for line in lines if "-->" in line or "==>" in line]
    assert {end for source, _, end in arrows for end in (source, end)} <= made
    assert ["s3", "-->", "m7_linear"] in arrows
    assert ["s1", "==>", "m7_transformer"] in arrows
    assert ["s0", "-->|right|", "m1_sigmoid_gating"] in arrows
    assert ["s7", "-->", "head"] in arrows
    assert "s4" not in made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nowhere.json"], "error: cannot read the architecture nowhere.json: No such file or directory"),
        (["aggregate", "nowhere"], "error: nowhere is no run folder: it holds no config.toml; a search makes one"),
        (["report", "nowhere"], "error: nowhere is no run folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == cli.USER_ERROR
    errors = capsys.readouterr().err
    assert errors.startswith(message)
    assert errors.count("\n") == 1


def test_every_verb_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    for verb in ("doctor", "search-day", "aggregate", "retrain", "compare", "report", "quantise", "show"):
        assert verb in listed
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        assert f"example: recsys-nas {verb}" in capsys.readouterr().out


def test_a_damaged_architecture_names_file_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "architecture.json"
    broken = FM.to_json() | {"blocks": [{"dense_width": 8, "modules": [{"name": "fmm", "sparse": [0]}]}]}
    path.write_text(json.dumps(broken))
    assert cli.main(["show", str(path)]) == cli.USER_ERROR
    assert f"{path}: blocks[0].modules[0].name: no module is named 'fmm'; did you mean 'fm'?" in capsys.readouterr().err
