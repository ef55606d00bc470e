"""Why a job failed, in one line, read from what it left behind.

In order: a line `error: ...` (our jobs' word for a user's mistake, which no retry mends), torchelastic's error file, the
end of a traceback, a signal that killed a rank, the last line printed. A job with ranks is judged by the rank that spoke
first: the others fail because of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TAIL_BYTES = 64_000
STDERR_LOG = "stderr.log"
TRACEBACK = "Traceback (most recent call last):"
# Slurm's own programs begin their lines in the same way, but a job that they ended may be tried again.
USER_ERROR = re.compile(r"^(?!slurm|srun)(?:[\w.-]+: )?error: (.+)$", re.MULTILINE)
KILLED = re.compile(r"Signal \d+ \((\w+)\) received by PID")
LONGEST = 300


@dataclass(frozen=True)
class Failure:
    """`cause` is one line. `user_error`: trying again cannot help."""

    cause: str
    user_error: bool = False


def failure(logs: Path, state: str) -> Failure:
    """Why the attempt failed whose logs lie below `logs`; `state` is TorchX's word for how it ended."""
    texts = [_tail(path) for path in _stderr_logs(logs)]
    if mistake := _first(_user_error, texts):
        return Failure(_line(mistake), user_error=True)
    cause = _first(_error_file, _by_age(logs.rglob("error.json")))
    for read in (_exception, _killed, _last_line):
        cause = cause or _first(read, texts)
    return Failure(_line(cause or f"ended as {state} without a message, as when it is killed"))


def _first(read: Callable[[T], str], sources: Iterable[T]) -> str:
    return next(filter(None, map(read, sources)), "")


def _line(message: str) -> str:
    line = message.strip().splitlines()[0]
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _stderr_logs(logs: Path) -> list[Path]:
    """Stderr of the ranks, then of the process TorchX started (torchrun); each oldest last word first."""
    ranks = _by_age(logs.glob(f"ranks/*/attempt_*/*/{STDERR_LOG}"))
    return ranks + _by_age(path for path in logs.rglob(STDERR_LOG) if path not in ranks)


def _by_age(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace").strip()


def _user_error(text: str) -> str:
    """What the last line `error: ...` or `program: error: ...` says, or an empty string."""
    said = USER_ERROR.findall(text)
    return said[-1] if said else ""


def _exception(text: str) -> str:
    """The exception's own line of the last traceback in `text`, or an empty string; torchrun's says nothing of its own."""
    _, found, after = text.rpartition(TRACEBACK)
    lines = after.splitlines() if found else []
    message = next((line for line in lines if line and not line[0].isspace()), "")
    return "" if "ChildFailedError" in message else message


def _killed(text: str) -> str:
    """What torchrun's summary says about a rank that ended by a signal, or an empty string."""
    match = KILLED.search(text)
    if not match:
        return ""
    return f"a process was killed by {match[1]}{' (out of memory?)' if match[1] == 'SIGKILL' else ''}"


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2]


def _error_file(path: Path) -> str:
    """The message of a torchelastic error file, or an empty string."""
    try:
        message = json.loads(path.read_text(encoding="utf-8"))["message"]
        return str(message["message"] if isinstance(message, dict) else message)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
