"""What the doctor looks at, gathered once; nothing here judges. Torch is imported in another process, which may crash."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

PROBE_SECONDS = 180
PROBE = """
import importlib, json
def tell(**facts):
    print("doctor:" + json.dumps(facts), flush=True)
tell(trying="import torch")
import torch
tell(build="cuda" if torch.version.cuda else "cpu", cuda=torch.version.cuda or "")
for name in ("fbgemm_gpu", "torchrec", "torchx", "numba"):
    tell(trying=f"import {name}")
    importlib.import_module(name)
tell(trying="a kernel of fbgemm")
torch.ops.fbgemm.asynchronous_complete_cumsum(torch.tensor([1, 2]))
tell(trying="CUDA")
tell(cuda_available=torch.cuda.is_available(), trying="")
"""


@dataclass(frozen=True)
class Probe:
    """How importing the stack went. `failed` is the step that failed, empty if none did; `error` the last line it said."""

    failed: str = ""
    error: str = ""
    build: str = ""
    """What torch was built for, `cpu` or `cuda`; empty if it could not be imported."""
    cuda: str = ""
    """The CUDA version it was built for."""
    cuda_available: bool = False


@dataclass(frozen=True)
class Facts:
    """One machine, as far as it matters here. Sizes in GB (1e9 bytes)."""

    python: tuple[int, int]
    executable: str
    packages: dict[str, str]
    """Installed distributions, name (normalised) to version."""
    components: tuple[str, ...]
    """Entry points of group `torchx.components`."""
    probe: Probe
    gpus: tuple[str, ...] = ()
    driver: str = ""
    disk_free: float = 100.0
    shared_memory: float = 8.0
    open_files: tuple[int, int] = (1024, 4096)
    """Soft and hard limit."""
    on_path: dict[str, str | None] = field(default_factory=dict)
    """Where the shell finds a command."""


def gather() -> Facts:
    gpus, driver = _gpus()
    distributions = metadata.distributions()
    return Facts(
        python=(sys.version_info.major, sys.version_info.minor),
        executable=_short(sys.executable),
        packages={re.sub(r"[-_.]+", "-", dist.name).lower(): dist.version for dist in distributions},
        components=tuple(entry.name for entry in metadata.entry_points(group="torchx.components")),
        probe=_probe(),
        gpus=gpus,
        driver=driver,
        disk_free=shutil.disk_usage(Path.cwd()).free / 1e9,
        shared_memory=_shared_memory(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
        on_path={name: shutil.which(name) for name in ("torchx", "torchrun")},
    )


def _probe() -> Probe:
    try:
        finished = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as expired:
        stdout = expired.stdout.decode() if isinstance(expired.stdout, bytes) else expired.stdout or ""
        return read_probe(stdout, f"no answer in {PROBE_SECONDS} s", 1)
    return read_probe(finished.stdout, finished.stderr, finished.returncode)


def read_probe(stdout: str, stderr: str, returncode: int) -> Probe:
    """What the probe's output says; a negative return code is the signal that killed it."""
    seen = _told(stdout)
    failed, error = "", ""
    if returncode != 0:
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        failed = seen["trying"] if seen.get("trying") else "start"
        error = f"crashed with signal {-returncode}" if returncode < 0 else (lines or ["no message"])[-1]
    return Probe(failed, error, seen.get("build", ""), seen.get("cuda", ""), seen.get("cuda_available", False))


def _told(stdout: str) -> dict:
    seen: dict = {}
    for line in stdout.splitlines():
        if line.startswith("doctor:"):
            seen |= json.loads(line.removeprefix("doctor:"))
    return seen


def _gpus() -> tuple[tuple[str, ...], str]:
    """Names of the GPUs, and the version of their driver."""
    if shutil.which("nvidia-smi") is None:
        return (), ""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    finished = subprocess.run(query, capture_output=True, text=True, check=False)
    rows = [line.rpartition(", ") for line in finished.stdout.splitlines() if ", " in line]
    if finished.returncode != 0 or not rows:
        return (), ""
    return tuple(name for name, _, _ in rows), rows[0][2]


def _shared_memory() -> float:
    try:
        return shutil.disk_usage("/dev/shm").free / 1e9
    except OSError:
        return 0.0


def _short(path: str) -> str:
    here = f"{os.getcwd()}{os.sep}"
    return path.removeprefix(here)
