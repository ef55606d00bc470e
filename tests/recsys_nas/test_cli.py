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
