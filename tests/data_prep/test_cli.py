"""What a user types and reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep import synth
from data_prep.cli import main


def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = str(tmp_path / "raw"), str(tmp_path / "shards")
    make = ["synth", "--out", raw, "--days", "2", "--rows-per-day", "400", "--workers", "1"]
    prepare = ["run", "--input", f"{raw}/day_*", "--schema", "criteo", "--out", out, "--workers", "1", "--buckets", "300"]
    assert main(make) == main(prepare) == 0
    text = capsys.readouterr().out
    assert f"made 2 days of 400 rows in {raw}" in text
    assert "best possible on day 1: log loss 0." in text
    assert f"2 days, 800 rows in {out}; 2 made in" in text
    assert main(make) == main(prepare) == 0
    assert capsys.readouterr().out.count("already there") == 2
    assert main(["verify", out]) == 0
    assert "all well: 2 days, 800 rows, 6 files" in capsys.readouterr().out
    assert main(["inspect", out, "--day", "1"]) == 0
    text = capsys.readouterr().out
    for part in ("13 dense and 26 sparse columns", "buckets 300", "day 1, by column", "I13", "C26", "first rows"):
        assert part in text


def test_inspect_counts_what_is_in_the_file(raw: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(shards)]) == 0
    text = capsys.readouterr().out.split("first rows")[0]
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    cells = [line.split("\t") for line in (raw / "day_0").read_text().splitlines()]
    gaps = sum(row[14 + 23] == "" for row in cells)
    assert rows["C24"][1] == f"{100 * gaps / len(cells):.1f}"
    assert rows["C5"][3] == str(len({row[14 + 4] for row in cells}))
    assert rows["I12"][1] == f"{100 * sum(row[12] in ('', '0') for row in cells) / len(cells):.1f}"
    clicks = sum(row[0] == "1" for row in cells)
    assert rows["0"][:3] == ["0", "2,500", f"{100 * clicks / 2500:.2f}"]


def test_verify_lists_faults_and_exits_with_1(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(shards, tmp_path / "copy")
    for day in ("day=00", "day=02"):
        (copy / day / "part-00000/label.npy").unlink()
    assert main(["verify", str(copy)]) == 1
    text = capsys.readouterr().out
    assert text.count("cannot be read") == 2
    assert "2 faults in 3 days" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--input", "nothing/day_*", "--out", "OUT"], "no file matches nothing/day_*"),
        (["run", "--input", "RAW/day_0", "--out", "OUT", "--buckets", "1"], "buckets = 1"),
        (["run", "--input", "RAW/day_0", "--out", "OUT", "--part-rows", "0"], "part rows = 0"),
        (["run", "--input", "RAW/truth.json", "--out", "OUT"], "no day in its name"),
        (["run", "--input", "RAW/day_0", "--out", "RAW/day_0/x"], "Not a directory"),
        (["synth", "--out", "RAW", "--days", "9"], "days 3 there, 9 asked"),
        (["synth", "--out", "OUT", "--days", "0"], "must be above 0"),
        (["synth", "--out", "OUT", "--rows-per-day", "1", "--days", "1"], "of one class only"),
        (["verify", "OUT"], "manifest.json is missing"),
        (["inspect", "SHARDS", "--day", "8"], "days there: 0, 1, 2"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, raw: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"RAW": str(raw), "OUT": str(tmp_path / "out"), "SHARDS": str(shards)}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert message in text


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synth, "write_day", interrupted)
    assert main(["synth", "--out", str(tmp_path), "--rows-per-day", "10", "--workers", "1"]) == 130
    assert capsys.readouterr().err == "interrupted; finished days are kept, run the same command again to continue\n"


@pytest.mark.parametrize("verb", ["synth", "run", "verify", "inspect"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert f"examples:\n  data-prep {verb} " in capsys.readouterr().out


def test_help_and_reading_load_nothing_heavy() -> None:
    code = (
        "import sys, data_prep.cli, data_prep.shards, data_prep.prepare, data_prep.synth, data_prep.verify, data_prep.summary\n"
        "print([name for name in ('torch', 'numba', 'rich', 'pandas') if name in sys.modules])"
    )
    here = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=here).stdout == "[]\n"


@pytest.mark.skipif("CRITEO_SAMPLES" not in os.environ, reason="CRITEO_SAMPLES names no folder of real Criteo logs")
def test_real_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file of the folder as one day, without a single bad row."""
    for day, path in enumerate(sorted(Path(os.environ["CRITEO_SAMPLES"]).iterdir())):
        (tmp_path / f"day_{day}{path.suffix}").symlink_to(path)
    out = str(tmp_path / "shards")
    assert main(["run", "--input", f"{tmp_path}/day_*", "--out", out, "--max-bad-share", "0", "--workers", "1"]) == 0
    assert main(["verify", out]) == 0
    assert "all well" in capsys.readouterr().out
