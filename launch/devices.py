"""How much runs at once: the cores and GPUs of this machine, or whatever a cluster's own queue allows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from data_prep.wording import counted
from launch.errors import LaunchError
from launch.jobs import DOCKER, LOCAL
from recsys_nas.config import LaunchConfig

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Slots:
    """At most `jobs` at once; `gpus` are handed out locally, and None where they are not ours to hand out."""

    jobs: int
    gpus: tuple[str, ...] | None = None


def slots(launch: LaunchConfig, jobs: int) -> Slots:
    """What `launch` allows for this many jobs. Raises LaunchError when this machine lacks the GPUs of even one job."""
    if launch.scheduler not in (LOCAL, DOCKER):
        return Slots(launch.max_parallel or jobs)
    by_cores = launch.max_parallel or local_cores() // (launch.nnodes * launch.nproc_per_node * launch.cpus) or 1
    if launch.scheduler == DOCKER:  # which gives every container the first GPUs, and cannot be told which
        return Slots((launch.max_parallel or 1) if launch.gpus else by_cores)
    if not launch.gpus:
        return Slots(by_cores, gpus=())
    if launch.nnodes > 1:
        raise LaunchError(f"launch.nnodes = {launch.nnodes}: one machine is one node; with GPUs, launch.nnodes=1")
    gpus = local_gpus()
    if len(gpus) < launch.gpus:
        shows = f"this machine shows {len(gpus)} (CUDA_VISIBLE_DEVICES, `nvidia-smi -L`)"
        raise LaunchError(f"launch.gpus = {launch.gpus}, but {shows}; launch.gpus=0 runs on the CPU")
    by_gpus = len(gpus) // launch.gpus
    return Slots(min(launch.max_parallel or by_gpus, by_gpus), gpus)


def spare_gpus(launch: LaunchConfig) -> str:
    """What to say when jobs run on the CPU of a machine that has GPUs; empty when there is nothing to say."""
    if launch.scheduler != LOCAL or launch.gpus or not (found := len(local_gpus())):
        return ""
    return f"jobs run on the CPU, for launch.gpus = 0; this machine shows {counted(found, 'GPU')}: --gpus 1 gives each job one"


def local_cores() -> int:
    """Cores this process may use, a container's CPU quota included."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def local_gpus() -> tuple[str, ...]:
    """Names that CUDA_VISIBLE_DEVICES understands: the ones it already lists, or the indices of all GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip())
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(index) for index in range(len(lines)))
