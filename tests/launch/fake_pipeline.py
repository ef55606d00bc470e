"""The real controller over fake jobs and stubs of the stages between them: `python tests/launch/fake_pipeline.py --config ...`.

With FAKE_PLAIN set, jobs run as plain processes, without the seconds torchrun takes to start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torchx.specs import AppDef, Role

import launch.jobs
from launch import controller
from launch.jobs import Job
from launch.queue import JobQueue
from recsys_nas.config import Config, LaunchConfig, load_config, parse_days, to_toml
from recsys_nas.search.day_results import made_of


def plain_app(job: Job, launch: LaunchConfig, logs: Path, environment: Mapping[str, str]) -> AppDef:
    """The job as one process that ends with the controller, as torchrun would."""
    arguments = ["-m", "launch.child", "python", "-m", job.module, *job.arguments]
    return AppDef(job.name, roles=[Role("fake", image="", entrypoint="python", args=arguments, env=dict(environment))])


def stub(name: str, **functions: Any) -> None:
    module = ModuleType(name)
    vars(module).update(functions)
    sys.modules[name] = module


def combine_run(run: Path, searched: Sequence[int]) -> bool:
    config = load_config(run / "config.toml")
    missing = [day for day in parse_days(config.data.search_days, "data.search_days") if day not in searched]
    told = {"days": list(searched), "missing_days": missing, "made_of": made_of(run, searched, config.search.day_result)}
    (run / "alphas.json").write_text(json.dumps(told))
    (run / "architecture.json").write_text("{}")
    return True


def write_provenance(run: Path, config: Config, command: list[str]) -> None:
    (run / "config.toml").write_text(to_toml(config))


def write_results(run: Path) -> dict[str, Any]:
    (run / "results.json").write_text("{}")
    return {"models": [{"name": "found", "auc": 0.75, "auc_by_seed": [0.7, 0.8], "vs_found": {"auc_diff": 0.0}}]}


def install() -> None:
    stub("recsys_nas.provenance", write_provenance=write_provenance)
    stub("recsys_nas.search.aggregate", DECOY_SURVIVED="a decoy survived")
    stub("recsys_nas.search.combine_days", combine_run=combine_run)
    stub("recsys_nas.report.results", write_results=write_results)
    stub("recsys_nas.report.page", write_report=lambda run: run / "report.html")
    stub("recsys_nas.report.table", print_results=lambda results: print("the table"))
    launch.jobs.SEARCH_MODULE = launch.jobs.RETRAIN_MODULE = "fake_job"
    build = plain_app if "FAKE_PLAIN" in os.environ else launch.jobs.ddp_app
    vars(controller)["JobQueue"] = partial(JobQueue, build=build, backoff_seconds=0.1)


if __name__ == "__main__":
    install()
    sys.exit(controller.main())
