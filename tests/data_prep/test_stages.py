"""A preparation in stages, as a cluster runs it: the bytes of a run in one go, in any order of days, and who must wait for whom."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from data_prep import stages
from data_prep.cli import main
from data_prep.errors import DataError
from data_prep.inputs import DaySource, LogFile, find_days, find_logs
from data_prep.job_progress import JobProgress, progress_file
from data_prep.lock import exclusive, exclusive_day
from data_prep.options import MAX_ROWS, PrepareOptions
from data_prep.prepare import prepare
from data_prep.schema import criteo_schema
from tests.data_prep.test_prepare import tree

FREQUENCY = PrepareOptions(criteo_schema(MAX_ROWS), None, part_rows=1000, max_bad_share=0.001, hash="frequency", threshold=2)


def silent(done: int, rows: int) -> None:
    pass


def test_modulo_needs_a_plan_the_days_and_the_manifest(raw: Path, shards: Path, options: PrepareOptions, tmp_path: Path) -> None:
    sources = stages.plan(tmp_path, find_logs([f"{raw}/day_*"]), options, 1)
    assert sources == stages.planned(tmp_path) == find_days([f"{raw}/day_*"])
    for day, missing in ((2, 0), (0, 0), (1, 1)):
        with pytest.raises(DataError, match=f"day=0{missing} is not there yet: --stage shards --day"):
            stages.manifest(tmp_path, options)
        stages.shards(tmp_path, options, day, silent)
    stages.shards(tmp_path, options, 1, silent)
    assert len(stages.manifest(tmp_path, options).days) == 3
    assert tree(tmp_path) == tree(shards)


def test_frequency_in_stages_gives_the_bytes_of_one_run(raw: Path, tmp_path: Path) -> None:
    logs = find_logs([f"{raw}/day_*"])
    prepare(tmp_path / "one", find_days([f"{raw}/day_*"]), FREQUENCY, 1)
    out = tmp_path / "stages"
    stages.plan(out, logs, FREQUENCY, 1)
    stages.count(out, FREQUENCY, 2, silent)
    with pytest.raises(DataError, match="day 0 has not been counted yet"):
        stages.vocabulary(out, FREQUENCY, 1)
    with pytest.raises(DataError, match=r"no vocabulary in .* yet: --stage vocabulary makes it"):
        stages.shards(out, FREQUENCY, 0, silent)
    for day in (0, 1):
        stages.count(out, FREQUENCY, day, silent)
    stages.plan(out, logs, FREQUENCY, 1)  # as when the whole is started again
    stages.vocabulary(out, FREQUENCY, 1)
    shutil.rmtree(out / ".work/index")
    with pytest.raises(DataError, match="no hash tables yet: --stage vocabulary makes them"):
        stages.shards(out, FREQUENCY, 0, silent)
    stages.plan(out, logs, FREQUENCY, 1)
    stages.vocabulary(out, FREQUENCY, 1)
    for day in (1, 0, 2):
        stages.shards(out, FREQUENCY, day, silent)
    stages.manifest(out, FREQUENCY)
    assert tree(out) == tree(tmp_path / "one")


def test_a_vocabulary_given_needs_no_counts(raw: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "one", find_days([f"{raw}/day_*"]), FREQUENCY, 1)
    given = dataclasses.replace(FREQUENCY, vocabulary_from=tmp_path / "one/vocabulary")
    out = tmp_path / "out"
    stages.plan(out, find_logs([f"{raw}/day_*"]), given, 1)
    stages.vocabulary(out, given, 1)
    for day in (0, 1, 2):
        stages.shards(out, given, day, silent)
    stages.manifest(out, given)
    assert tree(out) == tree(tmp_path / "one")


def test_a_plan_refuses_other_parameters_and_forgets_counts_of_other_files(raw: Path, tmp_path: Path) -> None:
    logs = Path(shutil.copytree(raw, tmp_path / "logs"))
    out = tmp_path / "out"
    stages.plan(out, find_logs([f"{logs}/day_[01]"]), FREQUENCY, 1)
    for day in (0, 1):
        stages.count(out, FREQUENCY, day, silent)
    (logs / "day_1").write_text((raw / "day_0").read_text() * 2)
    stages.plan(out, find_logs([f"{logs}/day_[01]"]), FREQUENCY, 1)
    assert [path.name for path in (out / ".work/counts").iterdir()] == ["day=00"]
    stages.count(out, FREQUENCY, 1, silent)
    stages.vocabulary(out, FREQUENCY, 1)
    with pytest.raises(DataError, match="threshold 2 there, 5 asked"):
        stages.plan(out, find_logs([f"{logs}/day_[01]"]), dataclasses.replace(FREQUENCY, threshold=5), 1)


def test_days_share_the_output_and_a_run_has_it_alone(raw: Path, options: PrepareOptions, tmp_path: Path) -> None:
    stages.plan(tmp_path, find_logs([f"{raw}/day_[01]"]), options, 1)
    with exclusive_day(tmp_path, tmp_path / ".work/day=00.lock"):
        with pytest.raises(DataError, match="another job makes day=00 of"):
            stages.shards(tmp_path, options, 0, silent)
        stages.count(tmp_path, options, 1, silent)
        stages.shards(tmp_path, options, 1, silent)
        with pytest.raises(DataError, match="another process is writing to"):
            stages.manifest(tmp_path, options)
    with exclusive(tmp_path), pytest.raises(DataError, match="another process is writing to"):
        stages.shards(tmp_path, options, 0, silent)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage", "shards"], "--stage shards needs the --day it is for"),
        (["--stage", "manifest", "--day", "1"], "is one for all days: leave out --day"),
        (["--stage", "shards", "--day", "1"], "no plan in"),
        (["--resume"], "nothing to resume in"),
        (["--stage", "plan", "--resume"], "--resume goes without --stage"),
        (["--day", "1"], "--day 1 goes with --stage count or shards"),
        (["--workers", "-1"], "--workers -1: must be 0, for all cores, or more"),
        (["--buckets", "4294967296"], "C1: buckets = 4294967296: must lie between 2 and 2,147,483,647"),
        (["--buckets", "-5"], "buckets = -5: at least 2"),
        (["--hash", "modulo", "--vocabulary", "x"], "--vocabulary says all about ids"),
        (["--vocabulary", "x", "--threshold", "2"], "--vocabulary says all about ids"),
        (["--threshold", "2"], "--threshold goes with --hash frequency"),
        (["--dense-transform", "log2"], "there are log1p, mlperf, none"),
    ],
)
def test_words_that_do_not_fit_are_told(
    words: list[str], message: str, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--input", f"{raw}/day_*", "--out", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said


def test_a_day_that_is_not_planned_lists_those_that_are(raw: Path, options: PrepareOptions, tmp_path: Path) -> None:
    stages.plan(tmp_path, find_logs([f"{raw}/day_[01]"]), options, 1)
    with pytest.raises(DataError, match=r"day 7 is not in the plan of .*: it has 0, 1"):
        stages.shards(tmp_path, options, 7, silent)


def test_resume_goes_on_where_there_is_work(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--input", f"{raw}/day_0", "--out", str(tmp_path), "--workers", "1", "--hash", "frequency"]
    assert main(words) == 0
    assert main([*words, "--resume"]) == 0
    assert "already there: 1 day," in capsys.readouterr().out


def test_a_job_tells_its_progress_in_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.5, 102.0, 104.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    tell = JobProgress(tmp_path, "count", DaySource(3, (LogFile(Path("a"), 400),)))
    for done in (50, 100, 200):
        tell(done, 10 * done)
    lines = progress_file(tmp_path, "count", 3).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"share": 0.25, "rows": 1000, "rows_per_second": 500.0, "seconds_left": 6.0},
        {"share": 0.5, "rows": 2000, "rows_per_second": 500.0, "seconds_left": 4.0},
    ]
