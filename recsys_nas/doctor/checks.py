"""The doctor's checks: each a pure function from the facts of a machine to one finding, with the command that mends it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from recsys_nas.doctor.facts import Facts

Status = Literal["ok", "warning", "problem"]

FBGEMM = {"cpu": "fbgemm-gpu-cpu", "cuda": "fbgemm-gpu"}
SUPPORTED_PYTHON = ((3, 11), (3, 14))
SUPPORTED_TORCH, TORCHX = ((2, 11), (2, 13)), (0, 7)
"""What setup.py asks for."""
DISK_NEEDED, DISK_COMFORTABLE = 2.0, 10.0
SHARED_MEMORY_NEEDED = 1.0
OPEN_FILES_NEEDED = 1024


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table. `mend` is a shell command, to be typed where the repository lies."""

    check: str
    status: Status
    found: str
    mend: str = ""


def check_all(facts: Facts) -> list[Finding]:
    return [check(facts) for check in CHECKS]


def check_python(facts: Facts) -> Finding:
    version = ".".join(map(str, facts.python))
    first, last = SUPPORTED_PYTHON
    if first <= facts.python <= last:
        return Finding("Python", "ok", version)
    return Finding("Python", "problem", f"{version}; 3.11 to 3.14 are supported", "make setup PYTHON=python3.11")


def check_stack(facts: Facts) -> Finding:
    """torchrec 1.X goes with fbgemm 1.X and torch 2.(X+5); other pairs only warn, and crash when libraries load."""
    fbgemm = next((name for name in FBGEMM.values() if name in facts.packages), None)
    missing = [name for name in ("torch", "torchrec", "torchx") if name not in facts.packages] + ([] if fbgemm else ["fbgemm-gpu"])
    if missing or fbgemm is None:
        return Finding("versions", "problem", f"not installed: {', '.join(missing)}", "make setup")
    names = ("torch", "torchrec", fbgemm)
    found = ", ".join(f"{name} {facts.packages[name]}" for name in (*names, "torchx"))
    torch, torchrec, kernels = (_release(facts.packages[name]) for name in names)
    wanted = (1, torch[1] - 5)
    if torch[0] == 2 and torchrec == kernels == wanted:
        (_, first), (_, last) = SUPPORTED_TORCH
        if first <= torch[1] <= last and _release(facts.packages["torchx"]) == TORCHX:
            return Finding("versions", "ok", found)
        rule = f"this project runs on torch 2.{first} to 2.{last} and torchx {TORCHX[0]}.{TORCHX[1]}"
        return Finding("versions", "problem", f"{found}; {rule}", "make setup")
    rule = f"torch 2.{torch[1]} goes with torchrec and fbgemm 1.{wanted[1]}"
    if torch[0] != 2 or wanted[1] < 0:
        return Finding("versions", "problem", f"{found}; torchrec 1.X and fbgemm 1.X go with torch 2.(X+5)", "make setup")
    pins = " ".join(f"'{name}==1.{wanted[1]}.*'" for name in ("torchrec", fbgemm))
    return Finding("versions", "problem", f"{found}; {rule}", f"{_pip(facts)} install --no-deps {pins}")


def check_one_fbgemm(facts: Facts) -> Finding:
    present = [name for name in FBGEMM.values() if name in facts.packages]
    if len(present) < 2:
        return Finding("one fbgemm", "ok", present[0] if present else "none")
    found = "fbgemm-gpu and fbgemm-gpu-cpu are both installed, and they overwrite each other's files"
    return Finding("one fbgemm", "problem", found, _install_fbgemm(facts))


def check_builds(facts: Facts) -> Finding:
    """Torch and fbgemm must be built for the same device, which should be the one the machine has."""
    build = _torch_build(facts)
    if FBGEMM[build] not in facts.packages and any(name in facts.packages for name in FBGEMM.values()):
        found = f"torch is a {build} build, and the fbgemm installed is not: its kernels cannot load"
        return Finding("builds", "problem", found, _install_fbgemm(facts))
    if build == "cpu" and facts.gpus:
        return Finding("builds", "warning", "CPU builds on a machine with a GPU, which stays idle", "make setup DEVICE=cuda")
    if build == "cuda" and not facts.gpus:
        return Finding("builds", "warning", "CUDA builds on a machine where nvidia-smi shows no GPU", "make setup DEVICE=cpu")
    return Finding("builds", "ok", f"{build}, as the machine")


def check_imports(facts: Facts) -> Finding:
    probe = facts.probe
    if not probe.failed:
        return Finding("libraries", "ok", "torch, fbgemm, torchrec, torchx and numba load")
    cause = next(
        (finding for finding in (check_one_fbgemm(facts), check_builds(facts), check_stack(facts)) if finding.status == "problem"), None
    )
    mend = cause.mend if cause else "rm -rf .venv && make setup"
    return Finding("libraries", "problem", f"{probe.failed} failed: {probe.error}", mend)


def check_gpu(facts: Facts) -> Finding:
    if not facts.gpus:
        return Finding("GPU", "ok", "none; jobs run on the CPU")
    found = f"{len(facts.gpus)} x {facts.gpus[0]}, driver {facts.driver}"
    if not facts.probe.cuda or facts.probe.cuda_available or facts.probe.failed:
        return Finding("GPU", "ok", found)
    minimum = 580 if facts.probe.cuda.startswith("13") else 525
    found += f"; torch, built for CUDA {facts.probe.cuda}, cannot use it: it needs driver {minimum} or newer (until then, use the CPU)"
    return Finding("GPU", "problem", found, "make setup DEVICE=cpu")


def check_disk(facts: Facts) -> Finding:
    found = f"{facts.disk_free:.1f} GB free"
    if facts.disk_free >= DISK_COMFORTABLE:
        return Finding("disk", "ok", found)
    status: Status = "warning" if facts.disk_free >= DISK_NEEDED else "problem"
    found += f"; the demo needs {DISK_NEEDED:.0f} GB (`make clean` removes what it made before)"
    return Finding("disk", status, found, f"{_pip(facts)} cache purge")


def check_shared_memory(facts: Facts) -> Finding:
    """NCCL and data loader workers exchange tensors through /dev/shm; containers start with 64 MB."""
    found = f"{facts.shared_memory:.1f} GB free in /dev/shm"
    if facts.shared_memory >= SHARED_MEMORY_NEEDED:
        return Finding("shared memory", "ok", found)
    status: Status = "problem" if len(facts.gpus) > 1 else "warning"
    found += f"; {SHARED_MEMORY_NEEDED:.0f} GB is needed (in a container: docker run --shm-size=8g)"
    return Finding("shared memory", status, found, "sudo mount -o remount,size=8G /dev/shm")


def check_open_files(facts: Facts) -> Finding:
    """Every array of a shard that is mapped into memory holds a file open."""
    soft, hard = facts.open_files
    if soft < 0 or soft >= OPEN_FILES_NEEDED:
        return Finding("open files", "ok", "no limit" if soft < 0 else f"up to {soft}")
    found = f"a process may open {soft}, and mapped shards need {OPEN_FILES_NEEDED}"
    root_needed = 0 <= hard < OPEN_FILES_NEEDED
    mend = f"sudo prlimit --pid $$ --nofile={OPEN_FILES_NEEDED}" if root_needed else f"ulimit -n {OPEN_FILES_NEEDED}"
    return Finding("open files", "problem", found, mend)


def check_urllib3(facts: Facts) -> Finding:
    version = facts.packages.get("urllib3", "0.0")
    if _release(version) < (1, 27):
        return Finding("urllib3", "ok", version)
    return Finding(
        "urllib3", "warning", f"{version}; torchx 0.7 asks for less than 1.27", f"{_pip(facts)} install --no-deps 'urllib3<1.27'"
    )


def check_tensorboard(facts: Facts) -> Finding:
    tensorboard, setuptools = (facts.packages.get(name, "0.0") for name in ("tensorboard", "setuptools"))
    found = f"tensorboard {tensorboard}, setuptools {setuptools}"
    if _release(tensorboard) >= (2, 21) or _release(setuptools) < (82, 0):
        return Finding("TensorBoard", "ok", found)
    found += "; before 2.21 it needs pkg_resources, which setuptools 82 dropped"
    return Finding("TensorBoard", "problem", found, f"{_pip(facts)} install --no-deps 'tensorboard>=2.21'")


def check_components(facts: Facts) -> Finding:
    if "launch/search" in facts.components:
        return Finding("components", "ok", "torchx finds launch/search.py")
    mend = f"{_pip(facts)} install --no-deps --no-build-isolation --editable ."
    return Finding("components", "problem", "torchx does not know launch/search.py: the project is not installed", mend)


def check_commands(facts: Facts) -> Finding:
    missing = [name for name, path in facts.on_path.items() if path is None]
    if not missing:
        return Finding("commands", "ok", f"{' and '.join(facts.on_path)} are on PATH")
    folder = os.path.dirname(os.path.abspath(facts.executable))
    return Finding("commands", "warning", f"not on PATH: {', '.join(missing)}", f'export PATH="{folder}:$PATH"')


CHECKS: tuple[Callable[[Facts], Finding], ...] = (
    check_python,
    check_stack,
    check_one_fbgemm,
    check_builds,
    check_imports,
    check_gpu,
    check_disk,
    check_shared_memory,
    check_open_files,
    check_urllib3,
    check_tensorboard,
    check_components,
    check_commands,
)


def _release(version: str) -> tuple[int, int]:
    """`2.13.0+cpu` -> (2, 13)."""
    numbers = re.findall(r"\d+", version) + ["0", "0"]
    return int(numbers[0]), int(numbers[1])


def _torch_build(facts: Facts) -> str:
    """`cpu` or `cuda`, as torch itself says, or else as its version does: only the CPU build's has a local part that names it."""
    return facts.probe.build or ("cpu" if facts.packages.get("torch", "+cpu").endswith("+cpu") else "cuda")


def _pip(facts: Facts) -> str:
    return f"{facts.executable} -m pip"


def _install_fbgemm(facts: Facts) -> str:
    """Only the one that goes with torch; both must go first, since removing one breaks the other."""
    minor = _release(facts.packages.get("torch", "2.13"))[1] - 5
    pin = f"'{FBGEMM[_torch_build(facts)]}==1.{minor}.*'"
    return f"{_pip(facts)} uninstall --yes {' '.join(FBGEMM.values())} && {_pip(facts)} install --no-deps {pin}"
