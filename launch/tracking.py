"""What a run was asked for and what came of it, told to TorchX's trackers, where `.torchxconfig` names some; off otherwise.

One record for the controller: the run folder, the command, every value of the config, and at the end the figures of each model. One for
each job that was done, whose source is the controller's record: its folder, seconds, attempt and the figures of its results.
Ids are those that TorchX gives apps, as in `slurm://torchx/17`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from launch.causes import Failure
from launch.errors import LaunchError
from launch.jobs import Job
from launch.queue import Attempt, Observer

JOB_ID = "TORCHX_JOB_ID"


@dataclass
class Tracking:
    """The trackers of one run. A tracker that fails later on is told of once, and the run goes on."""

    backends: Sequence[Any]
    run: Path
    warned: bool = field(default=False, init=False)

    @property
    def run_id(self) -> str:
        """The controller's id, or the run folder where TorchX did not start it; trackers take ASCII only."""
        return os.environ.get(JOB_ID) or f"run://{quote(str(self.run.resolve()))}"

    def begun(self, config: Mapping[str, Any], command: Sequence[str]) -> None:
        """A run is about to go on, or to begin."""
        asked = {f"config.{name}": value for name, value in flat(config)}
        self._tell(lambda each: each.add_metadata(self.run_id, run=str(self.run), command=" ".join(command), **asked))
        self._artifact(self.run_id, self.run / "config.toml")
        if parent := os.environ.get("TORCHX_PARENT_RUN_ID"):
            self._tell(lambda each: each.add_source(self.run_id, parent))

    def done(self, attempt: Attempt) -> None:
        """A job left its results."""
        told = {"job": attempt.job.name, "seconds": round(attempt.seconds, 3), "attempt": attempt.number, **results(attempt.job)}
        self._tell(lambda each: each.add_source(attempt.handle, self.run_id))
        self._tell(lambda each: each.add_metadata(attempt.handle, run=str(self.run), **told))
        for folder in attempt.job.folders:
            self._artifact(attempt.handle, folder / attempt.job.result)

    def compared(self, models: Sequence[Mapping[str, Any]]) -> None:
        """The run ended with these figures of its models, as in results.json."""
        figures = {f"{model['name']}.{name}": value for model in models for name, value in flat(model) if name != "name"}
        self._tell(lambda each: each.add_metadata(self.run_id, **figures))
        for name in ("architecture.json", "results.json", "report.html"):
            self._artifact(self.run_id, self.run / name)

    def watching(self, shown: Observer) -> Observer:
        """An observer that tells of what was done, and passes everything on."""
        return _Watching(shown, self) if self.backends else shown

    def _artifact(self, run_id: str, path: Path) -> None:
        self._tell(lambda each: each.add_artifact(run_id, str(path.relative_to(self.run)), str(path)))

    def _tell(self, tell: Callable[[Any], None]) -> None:
        for backend in self.backends:
            try:
                tell(backend)
            except Exception as error:  # whatever a store's library raises
                if not self.warned:
                    print(f"warning: tracker {backend} failed, and misses a part: {type(error).__name__}: {error}", file=sys.stderr)
                self.warned = True


@dataclass(frozen=True)
class _Watching:
    shown: Observer
    tracking: Tracking

    def started(self, attempt: Attempt) -> None:
        self.shown.started(attempt)

    def finished(self, attempt: Attempt) -> None:
        self.tracking.done(attempt)
        self.shown.finished(attempt)

    def failed(self, attempt: Attempt, why: Failure, again_in: float | None) -> None:
        self.shown.failed(attempt, why, again_in)

    def update(self, running: Sequence[Attempt], waiting: Sequence[Job]) -> None:
        self.shown.update(running, waiting)


def open_tracking(run: Path) -> Tracking:
    """The trackers that TorchX is configured with: none by default. Raises LaunchError when one of them cannot be used."""
    from torchx.runner.api import get_configured_trackers

    configured = get_configured_trackers()
    return Tracking([_build(name, settings) for name, settings in configured.items()], run)


def _build(name: str, settings: str | None) -> Any:
    from torchx.tracker.api import build_trackers

    try:
        for tracker in build_trackers({name: settings}):
            return tracker
    except Exception as error:  # a file that is not there, a store that refuses ...
        reason = str(error) or type(error).__name__
        raise LaunchError(f"tracker {name} of .torchxconfig, with config = {settings}, cannot be used: {reason}") from error
    raise LaunchError(f"tracker {name} of .torchxconfig: no installed package brings one of this name; TorchX's own is fsspec")


def results(job: Job) -> dict[str, Any]:
    """Plain values of a job's result files; those of a job with several folders are named after them."""
    found: dict[str, Any] = {}
    for folder in job.folders:
        record = json.loads((folder / job.result).read_text(encoding="utf-8"))
        prefix = f"{folder.name}." if len(job.folders) > 1 else ""
        found |= {f"{prefix}{name}": value for name, value in record.items() if _is_plain(value)}
    return found


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` -> `("a.b", 1)`; lists of plain values are left whole, other lists are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        elif _is_plain(value) or (isinstance(value, list | tuple) and all(map(_is_plain, value))):
            yield f"{before}{name}", value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
