"""Preparation as TorchX jobs: the component under both names, which jobs there are, and a run through failures to the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torchx.runner import get_runner
from torchx.specs.builders import materialize_appdef
from torchx.specs.finder import get_component

from data_prep.cli import main as data_prep
from data_prep.cli import options_of, parse_run
from data_prep.inputs import find_days
from data_prep.synth import SynthParameters, synthesise
from launch.figures import read_figures
from launch.jobs import Job
from launch.prep_controller import main, prep_jobs

FILE = Path(__file__).parents[2] / "launch" / "prep.py"


@pytest.mark.parametrize("name", ["launch/prep.py", f"{FILE}:prep"])
def test_both_names_run_the_controller(name: str) -> None:
    arguments = ["--input", "raw/day_0,raw/day_1", "--out", "shards", "--hash", "frequency", "--threshold", "2", "--max_parallel", "3"]
    arguments += ["--scheduler", "slurm", "--cfg", "partition=cpu", "--resume", "part-rows=500", "launch.memory_mb=100"]
    role = materialize_appdef(get_component(name).fn, arguments).roles[0]
    assert [role.entrypoint, *role.args] == [
        *("python", "-m", "launch.child", "--ask", "python", "-m", "launch.prep_controller"),
        *(
            "--input",
            "raw/day_0",
            "raw/day_1",
            "--schema",
            "criteo",
            "--out",
            "shards",
            "--resume",
            "--hash",
            "frequency",
            "--threshold",
            "2",
        ),
        *("--part-rows", "500", "--launch=launch.max_parallel=3", '--launch=launch.scheduler="slurm"'),
        *('--launch=launch.scheduler_options.partition="cpu"', "--launch=launch.memory_mb=100"),
    ]
    with get_runner() as runner:
        request = runner.dryrun_component(name, arguments, "local_cwd").request
    assert request.role_params["prep"][0].args == [role.entrypoint, *role.args]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    synthesise(folder, SynthParameters(seed=1, rows_per_day=300, days=2), workers=1)
    return folder


def test_jobs_wait_for_what_they_read(raw: Path, tmp_path: Path) -> None:
    def jobs(*words: str) -> dict[str, list[str]]:
        run = ["--input", f"{raw}/day_*", "--out", str(tmp_path), *words]
        made = prep_jobs(tmp_path, find_days([f"{raw}/day_*"]), options_of(parse_run(run)), run)
        assert all(job.arguments[: len(run) + 1] == ("run", *run) for job in made)
        return {job.name: [str(path.relative_to(tmp_path)) for path in job.needs] for job in made}

    assert jobs() == {"shards-day-0": [], "shards-day-1": []}
    tables = [".work/index/vocabulary.json"]
    after = {"shards-day-0": tables, "shards-day-1": tables}
    counts = [f".work/counts/day=0{day}/counts.json" for day in (0, 1)]
    assert jobs("--hash", "frequency") == {"count-day-0": [], "count-day-1": [], "vocabulary": counts, **after}
    assert jobs("--vocabulary", "elsewhere") == {"vocabulary": [], **after}
    (tmp_path / "vocabulary").mkdir()
    assert jobs("--hash", "frequency") == {"vocabulary": [], **after}
    for day in (0, 1):
        (tmp_path / f"day=0{day}").mkdir()
        (tmp_path / f"day=0{day}/day.json").touch()
    assert list(jobs("--hash", "frequency")) == ["shards-day-0", "shards-day-1"]


def test_figures_come_from_the_jobs_own_file(raw: Path, tmp_path: Path) -> None:
    run = ["--input", f"{raw}/day_*", "--out", str(tmp_path)]
    job = prep_jobs(tmp_path, find_days([f"{raw}/day_*"]), options_of(parse_run(run)), run)[0]
    assert job.metrics is not None
    assert read_figures(job, 0.0) is None
    job.metrics.parent.mkdir(parents=True)
    job.metrics.write_text('{"share": 0.25, "rows": 70, "rows_per_second": 35.0, "seconds_left": 6.0}\n')
    figures = read_figures(job, 0.0)
    assert figures is not None
    assert (figures.share, figures.rows, figures.rows_per_second, figures.seconds_left) == (0.25, 70, 35.0, 6.0)


def test_a_count_is_done_when_the_vocabulary_has_used_it_up(tmp_path: Path) -> None:
    """It may be made, and the counts removed, before the count's own process has ended."""
    job = Job("count-day-0", "module", (), (tmp_path / "counts",), "counts.json", used_up=tmp_path / "vocabulary")
    assert not job.is_done
    (tmp_path / "vocabulary").mkdir()
    assert job.is_done


def test_a_run_of_jobs_ends_with_the_bytes_of_one_run(raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A log that is not one fails its day in one line; mended, the same command goes on and keeps what was done."""
    logs = Path(shutil.copytree(raw, tmp_path / "logs"))
    (logs / "day_1").write_text("no log\n" * 300)
    rules = ["--hash", "frequency", "--threshold", "2", "--part-rows", "100"]
    run = ["--input", f"{logs}/day_*", "--out", str(tmp_path / "jobs"), *rules, "--launch", "launch.max_parallel=2"]
    assert main(run) == 1
    said = capfd.readouterr()
    assert "[count day 1] failed after" in said.out
    assert "300 of 300 rows are bad (100 %, allowed 0.1 %), the first at line 1 of" in said.out
    assert said.err == "error: failed: count day 1; finished days are kept: mend the cause and run the same command again\n"
    kept = tmp_path / "jobs/.work/counts/day=00/counts.json"
    before = kept.stat().st_mtime_ns
    shutil.copy(raw / "day_1", logs / "day_1")
    assert kept.stat().st_mtime_ns == before
    assert main(run) == 0
    assert "4 of 5 jobs left" in (told := capfd.readouterr().out)
    assert f"2 days, 600 rows in {tmp_path / 'jobs'}" in told
    assert data_prep(["run", "--input", f"{logs}/day_*", "--out", str(tmp_path / "one"), "--workers", "1", *rules]) == 0
    files = {
        root: {str(path.relative_to(tmp_path / root)): path.read_bytes() for path in (tmp_path / root).rglob("*") if path.is_file()}
        for root in ("jobs", "one")
    }
    assert files["jobs"] == files["one"]
    assert main(run) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "nothing/day_*"], "no file matches nothing/day_*"),
        (["--input", "RAW/day_*", "--launch", "launch.schedule=slurm"], "schedule"),
        (["--input", "RAW/day_*", "--launch", "launch.scheduler=slumr"], "TorchX knows"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    words: list[str], message: str, raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("RAW", str(raw)) for word in words]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said


def test_resuming_what_is_done_is_done(raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = ["--input", f"{raw}/day_*", "--out", str(tmp_path / "out")]
    assert main([*run, "--resume"]) == 2
    assert "nothing to resume" in capfd.readouterr().err
    assert main(run) == 0
    assert main([*run, "--resume"]) == 0
