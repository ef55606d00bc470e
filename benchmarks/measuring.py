"""Measuring fairly: each case in a process of its own, in turn, several times; its rate by its own clock, its memory from outside."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

SECONDS_BETWEEN_SAMPLES = 0.02
MB = 1e6


@dataclass(frozen=True)
class Sample:
    """One run of a case: what it printed, and the most memory that it and its children held at a time.

    `rss` counts pages of mapped files too, which the system takes back when it needs them; `private` does not. Bytes.
    """

    printed: Mapping[str, float]
    rss: int
    private: int


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Sample:
    """Run a command that ends by printing one line of JSON. Exits with its message when it fails."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    rss = private = 0
    while process.poll() is None:
        now = [_memory(pid) for pid in _tree(process.pid)]
        rss, private = max(rss, sum(pages for pages, _ in now)), max(private, sum(own for _, own in now))
        time.sleep(SECONDS_BETWEEN_SAMPLES)
    out, error = process.communicate()
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} ended with {process.returncode}:\n{error[-2000:]}")
    return Sample(json.loads(out.splitlines()[-1]), rss, private)


def measure_in_turn(cases: Mapping[str, Sequence[str]], repeats: int, warm_up: int = 0) -> dict[str, list[Sample]]:
    """Every case once, then every case again: what slows the machine down for a while slows all of them. The first `warm_up` rounds
    are left out: a virtual machine pays for each page of memory that it has not used before."""
    samples: dict[str, list[Sample]] = {name: [] for name in cases}
    for repeat in range(warm_up + repeats):
        for name, command in cases.items():
            samples[name].append(sample := measure(command))
            what = f"{repeat - warm_up + 1}/{repeats}" if repeat >= warm_up else "warm-up"
            print(f"{what} {name}: {json.dumps(sample.printed)}", file=sys.stderr, flush=True)
    return {name: taken[warm_up:] for name, taken in samples.items()}


def rates(samples: Sequence[Sample], unit: str = "rows") -> list[float]:
    """`unit` a second, sorted."""
    return sorted(sample.printed[unit] / sample.printed["seconds"] for sample in samples)


def middle(samples: Sequence[Sample], unit: str = "rows") -> float:
    return median(rates(samples, unit))


def peak_mb(samples: Sequence[Sample], kind: str = "rss") -> float:
    return round(max(getattr(sample, kind) for sample in samples) / MB, 1)


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Where and when, and with which versions; a package that is not installed is None."""
    cpu = dict(line.split(":", 1) for line in _read("/proc/cpuinfo").split("\n\n")[0].splitlines() if ":" in line)
    memory = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": sys.argv,
        "cpu": {key.strip(): value.strip() for key, value in cpu.items()}.get("model name", platform.processor()),
        "cores": len(cores()),
        "memory_gb": round(int(memory["MemTotal"].split()[0]) / 1e6, 1),
        "load_before": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
    }


def cores() -> list[int]:
    """The cores this process may run on."""
    return sorted(os.sched_getaffinity(0))


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = _read(f"/proc/{pid}/task/{pid}/children").split()
    return [pid, *(below for child in children for below in _tree(int(child)))]


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, all and private; 0 when it has gone."""
    fields = dict(line.split(":", 1) for line in _read(f"/proc/{pid}/status").splitlines() if line.startswith(("VmRSS", "RssAnon")))
    kilobytes = [int(fields.get(name, "0 kB").split()[0]) for name in ("VmRSS", "RssAnon")]
    return kilobytes[0] * 1024, kilobytes[1] * 1024


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:  # a process that has ended since
        return ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    finished = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return finished.stdout.strip() or None
