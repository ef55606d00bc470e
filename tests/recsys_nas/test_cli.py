"""The command line: each verb explains itself, bad input is one line."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.atomic import write_json
from recsys_nas import cli
from recsys_nas.cost import dense_flops
from recsys_nas.space import Architecture, Block
from recsys_nas.verbs.completion import SHELLS, completion_script
from recsys_nas.verbs.verb import Verb

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


def test_a_folder_without_a_config_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == cli.USER_ERROR
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is no run folder: it holds no config.toml")


VERBS = [verb for group in cli.GROUPS.values() for verb in group]


def test_verbs_are_listed_by_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    places = [listed.index(f"\n{group}:\n") for group in ("prepare", "search", "judge", "serve")]
    assert places == sorted(places)
    for verb in VERBS:
        assert f"\n  {verb.name} " in listed
    for code in ("0 done", "1 a check failed", "2 bad input", "130 stopped"):
        assert code in listed


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_examples_that_parse(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([verb.name, "--help"])
    told = capsys.readouterr().out
    assert verb.examples
    assert all(example in told for example in verb.examples)
    for example in verb.examples:
        words = shlex.split(re.split(" [>#] ", example)[0])
        assert words[:2] == ["recsys-nas", verb.name]
        assert cli.make_parser().parse_args(words[1:]).verb is verb


@pytest.mark.parametrize("name", ["doctor", "plan", "simulate", "aggregate", "compare", "show", "runs", "diff", "cost", "quantise"])
def test_verbs_that_print_figures_print_them_as_json_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    assert "--json" in capsys.readouterr().out


def test_simulate_and_show_print_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "architecture.json"
    write_json(path, FM.to_json())
    assert cli.main(["show", str(path), "--json"]) == cli.SUCCESS
    shown = json.loads(capsys.readouterr().out)
    assert sum(cost["flops"] for cost in shown["cost_by_module"]) == shown["dense_flops"] == dense_flops(FM)
    assert shown["architecture"] == FM.to_json()
    words = "simulate --days 3 --workers 1 --rows-per-day 3600 --rows-per-second 1 --startup-seconds 0 --spread 0 --failure-rate 0 --json"
    assert cli.main(words.split()) == cli.SUCCESS
    told = json.loads(capsys.readouterr().out)
    assert (told["day_hours"], told["device_hours"], told["days_given_up"]) == (1, 3, 0)


def test_help_loads_nothing_that_takes_time() -> None:
    """What must be there in a moment: only the standard library. Slow ones are named; a clock would make a poor test."""
    code = "import sys; from recsys_nas.cli import make_parser; make_parser().format_help(); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "pydantic", "rich", "matplotlib", "pyarrow", "shtab"} & set(printed.split())


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_verbs_and_options(shell: str, tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="shtab, which writes completion scripts, is not installed")
    script = completion_script(cli.make_parser(), shell)
    for word in ("search-day", "quantise", "dry-run", "world-size"):
        assert word in script


def test_bash_completes_a_verb_an_option_and_a_choice(tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="shtab, which writes completion scripts, is not installed")
    path = tmp_path / "completion.bash"
    path.write_text(completion_script(cli.make_parser(), "bash"))
    for typed, offered in ((["sear"], "search-day"), (["plan", "--wor"], "--world-size"), (["plan", "--phase", "re"], "retrain")):
        words = " ".join(["recsys-nas", *typed])
        code = f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _shtab_recsys_nas recsys-nas {typed[-1]}; echo ${{COMPREPLY[@]}}"
        finished = subprocess.run(["bash", "-c", f"source {path}; {code}"], capture_output=True, text=True, check=False)
        assert finished.stdout.strip() == offered, finished.stderr


def test_a_damaged_architecture_names_file_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "architecture.json"
    broken = FM.to_json() | {"blocks": [{"dense_width": 8, "modules": [{"name": "fmm", "sparse": [0]}]}]}
    path.write_text(json.dumps(broken))
    assert cli.main(["show", str(path)]) == cli.USER_ERROR
    assert f"{path}: blocks[0].modules[0].name: no module is named 'fmm'; did you mean 'fm'?" in capsys.readouterr().err
