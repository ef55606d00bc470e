"""From searched days to the architecture: when there are enough of them, and which are done without."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from data_prep.wording import counted
from launch.errors import LaunchError
from launch.jobs import Job, architecture_file, retrain_jobs, search_jobs
from recsys_nas.config import Config
from recsys_nas.search.day_results import made_of


def aggregate_when_searched(config: Config, failed: Collection[str]) -> str:
    """Once no day can be waited for: the architecture that the searched ones agree on. Returns what was done, in a line.

    `failed`: names of the jobs given up. With fewer than `launch.min_days` (0: all) days, nothing is done. An architecture that
    was made of these very days stays, edited by hand or not. Raises LaunchError when another was retrained before.
    """
    from recsys_nas.search.aggregate import DECOY_SURVIVED
    from recsys_nas.search.combine_days import combine_run

    given_up = {*failed, *left_out(config)}
    days = search_jobs(config)
    done = [job for job in days if job.is_done]
    if len(done) < (config.launch.min_days or len(days)) or any(not job.is_done and job.name not in given_up for job in days):
        return ""
    architecture = architecture_file(config)
    searched = [_number(job) for job in done]
    if architecture.exists() and _is_of(config, searched):
        return ""
    _refuse_results_of_another(config)
    valid = combine_run(config.run_folder, searched)
    without = [job.title.removeprefix("search ") for job in days if job not in done]
    lacking = f" without {', '.join(without)}, which failed" if without else ""
    warning = "" if valid else f"\nwarning: {DECOY_SURVIVED}"
    return f"aggregated {counted(len(done), 'day')}{lacking}: the architecture is in {architecture}{warning}"


def left_out(config: Config) -> frozenset[str]:
    """Names of the jobs of days that the architecture does without, as long as those that it is made of still suffice."""
    alphas = _read_alphas(config)
    missing, days = set(alphas.get("missing_days", [])), set(alphas.get("days", []))
    asked = {_number(job): job for job in search_jobs(config)}
    enough = 0 < config.launch.min_days <= len(days & asked.keys()) and architecture_file(config).exists()
    return frozenset(asked[day].name for day in missing & asked.keys() if not asked[day].is_done) if enough else frozenset()


def _is_of(config: Config, searched: Sequence[int]) -> bool:
    """Whether the aggregate knew of these days, as they are; it may have left some out that it was told to leave out."""
    alphas = _read_alphas(config)
    if "made_of" not in alphas:  # of an earlier release
        return alphas.get("days") == searched
    return bool(alphas["made_of"] == made_of(config.run_folder, searched, config.search.day_result))


def _read_alphas(config: Config) -> dict[str, Any]:
    """The aggregate; empty while there is none, or one that cannot be read."""
    try:
        alphas = json.loads((config.run_folder / "alphas.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return alphas if isinstance(alphas, dict) else {}


def is_given_up(config: Config, name: str) -> bool:
    """Whether the run can end without the job of that name: a day whose failure `launch.min_days` allows, or a random control."""
    return name in left_out(config) or name in {f"retrain-{control}" for control in config.retrain.controls}


def _number(job: Job) -> int:
    return int(job.arguments[-1])


def _refuse_results_of_another(config: Config) -> None:
    """A day that came late changes the architecture; results of the one before would be taken for those of the new one."""
    waiting = [job for job in retrain_jobs(config) if job.needs]
    trained = [job for job in waiting if any((folder / job.result).exists() for folder in job.folders)]
    if trained:
        folders = ", ".join(str(job.folders[0].parent) for job in trained)
        raise LaunchError(
            f"days were searched after {trained[0].title} was trained, and may give another architecture: "
            f"remove {folders} and run the same command again"
        )
