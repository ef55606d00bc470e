"""The trials of a search, one JSON line each, written down as they end: what a killed search is resumed from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.atomic import write_text
from recsys_nas.search.strategy import SearchError, Trial
from recsys_nas.space import SearchSpace

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Journal:
    """The file `path`, whose first line says which search it is of.

    `search` are plain values that must be the same for trials to be taken over, such as strategy, seed and space. Of several
    ranks only one is `active` and writes.
    """

    path: Path
    search: dict[str, Any]
    active: bool = True

    def open(self) -> list[Trial]:
        """The trials so far; begins the file where there is none. A line cut off by a kill is dropped, from the file too.

        Raises SearchError when the file is of another search or damaged.
        """
        header = json.dumps({"format_version": FORMAT_VERSION, "search": self.search}, sort_keys=True)
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.exists() else []
        if lines and lines[0] != header:
            raise SearchError(f"{self.path} is of a search with other settings; remove {self.path.parent} or give the run another name")
        try:
            trials = [Trial.from_json(json.loads(line)) for line in lines[1:]]
        except (ValueError, KeyError, TypeError) as error:
            raise SearchError(f"{self.path} is damaged ({error!r}); remove {self.path.parent} and search that day again") from error
        if self.active:
            write_text(self.path, "".join(f"{line}\n" for line in lines or [header]))
        return trials

    def add(self, trial: Trial) -> None:
        """Append a trial and flush it to disk."""
        if not self.active:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(trial.to_json(), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def earlier_trials(run: Path, space: SearchSpace) -> tuple[list[Trial], ...]:
    """Networks that an earlier run trained alone, a list a day. Raises SearchError where there is none of this space."""
    found = []
    for path in sorted(run.glob("days/day=*/trials.jsonl")):
        try:
            trials = [Trial.from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n")[1:-1]]
        except (ValueError, KeyError, TypeError) as error:
            raise SearchError(f"trials.warm_start = {str(run)!r}: {path} is damaged ({error!r})") from error
        found.append([trial for trial in trials if trial.proposal.fidelity == "trained" and space.contains(trial.architecture)])
    if not any(found):
        raise SearchError(f"trials.warm_start = {str(run)!r}: holds no networks of this space that were trained alone; name another run")
    return tuple(trials for trials in found if trials)
