"""`recsys-nas plan`: a job's sharding plan, looked at before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys_nas.cli import main
from tests.recsys_nas.jobs.conftest import write_run


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_run(tmp_path) / "config.toml")


def test_a_dry_run_shows_the_plan_and_writes_nothing(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config", config, "--world-size", "2", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "sharding plan for 2 ranks (cpu) on 1 host" in printed
    assert "t_C1" in printed
    assert "it fits" in printed
    assert not list(tmp_path.rglob("plan.json"))


def test_a_plan_written_is_used_by_the_job(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.json"
    assert main(["plan", "--config", config, "--world-size", "2", "--out", str(out), "--set", 'embedding.sharding=["row_wise"]']) == 0
    assert {table["sharding"] for table in json.loads(out.read_text())["tables"]} == {"row_wise"}
    assert main(["plan", "--config", config, "--world-size", "2", "--dry-run", "--set", f"embedding.plan={out}"]) == 0
    assert "row_wise" in capsys.readouterr().out
    assert main(["plan", "--config", config, "--world-size", "3", "--dry-run", "--set", f"embedding.plan={out}"]) == 2
    assert "error: " in capsys.readouterr().err


def test_searching_may_cap_tables(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    capped = ["--set", "search.max_rows=6", "--world-size", "1", "--dry-run"]
    for phase, rows in (("search", "6"), ("retrain", "11")):
        assert main(["plan", "--config", config, "--phase", phase, *capped]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("t_C1"))
        assert line.split()[1] == rows


def test_tables_that_do_not_fit_end_in_one(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config", config, "--world-size", "2", "--dry-run", "--set", "embedding.ddr_gb=1e-7"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("does not fit: the tables need ")
    assert "take at least" in printed


def test_a_named_resource_says_what_hosts_have(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["plan", "--config", config, "--world-size", "16", "--dry-run", "--set", "embedding.hbm_gb=80", "--set"]
    assert main([*asked, "launch.resource=8xh100"]) == 0
    assert "sharding plan for 16 ranks (cuda) on 2 hosts" in capsys.readouterr().out
    assert main([*asked, "launch.resource=8xh200"]) == 2
    assert "Did you mean `8xh100`" in capsys.readouterr().err
