"""How far a job is, from the last line of the metrics.jsonl it appends to while it trains."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from launch.jobs import Job

METRICS = "metrics.jsonl"
TAIL_BYTES = 8192


@dataclass(frozen=True)
class Figures:
    """`share` of the whole job done, in [0, 1]; `seconds_left` for all of it. None: not known yet."""

    share: float = 0.0
    rows: int = 0
    total_rows: int = 0
    rows_per_second: float | None = None
    loss: float | None = None
    ne: float | None = None
    seconds_left: float | None = None


def read_figures(job: Job, since: float) -> Figures | None:
    """What `job` wrote last after the time `since` (seconds since the epoch), or None when it has written nothing yet.

    A job with several folders (seeds) works through them in turn, so its share counts the finished ones.
    """
    open_folders = [folder for folder in job.folders if not (folder / job.result).exists()]
    written = [path for folder in open_folders for path in (folder / METRICS, *folder.glob(f"*/{METRICS}"))]
    newest = job.metrics or max(written, key=_modified, default=None)
    if newest is None or _modified(newest) < since:
        return None
    try:
        return _figures(json.loads(_last_line(newest)), len(job.folders) - len(open_folders), len(job.folders))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _figures(raw: dict[str, float], finished: int, folders: int) -> Figures:
    rows, total = int(raw.get("rows", 0)), int(raw.get("total_rows", 0))
    rate, left = raw.get("rows_per_second"), raw.get("seconds_left")
    share = raw.get("share", rows / total if total else 0.0)
    others = folders - finished - 1
    if left is not None and rate:
        left += others * total / rate
    return Figures(
        share=min(1.0, (finished + share) / folders),
        rows=rows,
        total_rows=total,
        rows_per_second=rate,
        loss=raw.get("loss"),
        ne=raw.get("ne"),
        seconds_left=left,
    )


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_line(path: Path) -> bytes:
    """The last whole line, for a writer may be in the middle of the next; empty when there is none."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        whole = file.read().rpartition(b"\n")[0]
    return whole.rpartition(b"\n")[2]
