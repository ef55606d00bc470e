"""Each check of the doctor is shown a bad machine, and must find what is wrong and name the command that mends it."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
from rich.console import Console

from recsys_nas import doctor
from recsys_nas.doctor import Facts, Finding, check_all, gather, run_doctor
from recsys_nas.doctor.facts import Probe, read_probe

CPU_PACKAGES = {
    "torch": "2.13.0+cpu",
    "torchrec": "1.8.0",
    "fbgemm-gpu-cpu": "1.8.0",
    "torchx": "0.7.0",
    "urllib3": "1.26.20",
    "tensorboard": "2.21.0",
    "setuptools": "84.2.1",
}
HEALTHY = Facts(
    python=(3, 11),
    executable=".venv/bin/python",
    packages=CPU_PACKAGES,
    components=("launch/search", "_torchx"),
    probe=Probe(build="cpu"),
    on_path={"torchx": "/bin/torchx", "torchrun": "/bin/torchrun"},
)
CUDA_PACKAGES = {**CPU_PACKAGES, "torch": "2.13.0", "fbgemm-gpu": "1.8.0"}
del CUDA_PACKAGES["fbgemm-gpu-cpu"]
HEALTHY_GPU = dataclasses.replace(
    HEALTHY,
    packages=CUDA_PACKAGES,
    probe=Probe(build="cuda", cuda="13.0", cuda_available=True),
    gpus=("NVIDIA H200", "NVIDIA H200"),
    driver="580.65",
)


def with_packages(facts: Facts, **changed: str | None) -> Facts:
    packages = {**facts.packages, **{name.replace("_", "-"): version for name, version in changed.items()}}
    return dataclasses.replace(facts, packages={name: version for name, version in packages.items() if version is not None})


def with_changes(facts: Facts, **changed: Any) -> Facts:
    return dataclasses.replace(facts, **changed)


def finding(facts: Facts, check: str) -> Finding:
    (found,) = [finding for finding in check_all(facts) if finding.check == check]
    return found


@pytest.mark.parametrize(
    "facts",
    [
        HEALTHY,
        HEALTHY_GPU,
        with_changes(HEALTHY, python=(3, 14), open_files=(-1, -1)),
        # an environment that a GPU machine in use has
        with_packages(HEALTHY_GPU, torch="2.11.0+cu128", torchrec="1.6.1", fbgemm_gpu="1.6.0"),
    ],
)
def test_a_healthy_machine_has_nothing_to_mend(facts: Facts) -> None:
    assert [finding for finding in check_all(facts) if finding.status != "ok" or finding.mend] == []


REMOVE_BOTH = ".venv/bin/python -m pip uninstall --yes fbgemm-gpu-cpu fbgemm-gpu && "
REINSTALL_CPU_FBGEMM = f"{REMOVE_BOTH}.venv/bin/python -m pip install --no-deps 'fbgemm-gpu-cpu==1.8.*'"
REINSTALL_CUDA_FBGEMM = f"{REMOVE_BOTH}.venv/bin/python -m pip install --no-deps 'fbgemm-gpu==1.8.*'"

BAD = [
    ("Python", "problem", with_changes(HEALTHY, python=(3, 10)), ["3.10", "3.11 to 3.14"], "make setup PYTHON=python3.11"),
    ("Python", "problem", with_changes(HEALTHY, python=(3, 15)), ["3.15"], "make setup PYTHON=python3.11"),
    ("versions", "problem", with_packages(HEALTHY, torchrec=None), ["not installed: torchrec"], "make setup"),
    ("versions", "problem", with_packages(HEALTHY, fbgemm_gpu_cpu=None), ["not installed: fbgemm-gpu"], "make setup"),
    (
        "versions",
        "problem",
        with_packages(HEALTHY, torchrec="1.7.0"),
        ["torchrec 1.7.0", "torch 2.13 goes with torchrec and fbgemm 1.8"],
        ".venv/bin/python -m pip install --no-deps 'torchrec==1.8.*' 'fbgemm-gpu-cpu==1.8.*'",
    ),
    (
        "versions",
        "problem",
        with_packages(HEALTHY_GPU, torch="2.14.0"),
        ["torch 2.14 goes with torchrec and fbgemm 1.9"],
        ".venv/bin/python -m pip install --no-deps 'torchrec==1.9.*' 'fbgemm-gpu==1.9.*'",
    ),
    ("versions", "problem", with_packages(HEALTHY, torch="1.13.1"), ["torch 2.(X+5)"], "make setup"),
    (
        "versions",
        "problem",
        with_packages(HEALTHY, torch="2.6.0+cpu", torchrec="1.1.0", fbgemm_gpu_cpu="1.1.0"),
        ["torch 2.6.0", "runs on torch 2.11 to 2.13 and torchx 0.7"],
        "make setup",
    ),
    ("versions", "problem", with_packages(HEALTHY, torchx="0.5.0"), ["torchx 0.5.0", "torchx 0.7"], "make setup"),
    (
        "one fbgemm",
        "problem",
        with_packages(HEALTHY, fbgemm_gpu="1.8.0"),
        ["both installed", "overwrite"],
        REINSTALL_CPU_FBGEMM,
    ),
    (
        "one fbgemm",
        "problem",
        with_packages(HEALTHY_GPU, fbgemm_gpu_cpu="1.8.0"),
        ["both installed"],
        REINSTALL_CUDA_FBGEMM,
    ),
    (
        "builds",
        "problem",
        with_packages(HEALTHY, fbgemm_gpu="1.8.0", fbgemm_gpu_cpu=None),
        ["torch is a cpu build", "cannot load"],
        REINSTALL_CPU_FBGEMM,
    ),
    (
        "builds",
        "problem",
        with_packages(HEALTHY_GPU, fbgemm_gpu_cpu="1.8.0", fbgemm_gpu=None),
        ["torch is a cuda build"],
        REINSTALL_CUDA_FBGEMM,
    ),
    ("builds", "warning", with_changes(HEALTHY, gpus=("NVIDIA H200",)), ["CPU builds", "GPU"], "make setup DEVICE=cuda"),
    ("builds", "warning", with_changes(HEALTHY_GPU, gpus=()), ["CUDA builds", "no GPU"], "make setup DEVICE=cpu"),
    (
        "libraries",
        "problem",
        with_changes(HEALTHY, probe=Probe("import torchrec", "OSError: libcudart.so.13", build="cpu")),
        ["import torchrec failed", "libcudart.so.13"],
        "rm -rf .venv && make setup",
    ),
    (  # what is known to break libraries is named as their cure too
        "libraries",
        "problem",
        with_changes(with_packages(HEALTHY, fbgemm_gpu="1.8.0"), probe=Probe("import fbgemm_gpu", "OSError", build="cpu")),
        ["import fbgemm_gpu failed"],
        REINSTALL_CPU_FBGEMM,
    ),
    (
        "GPU",
        "problem",
        with_changes(HEALTHY_GPU, driver="535.1", probe=Probe(build="cuda", cuda="13.0")),
        ["2 x NVIDIA H200", "driver 535.1", "580 or newer"],
        "make setup DEVICE=cpu",
    ),
    ("GPU", "problem", with_changes(HEALTHY_GPU, probe=Probe(build="cuda", cuda="12.8")), ["525 or newer"], "make setup DEVICE=cpu"),
    ("disk", "problem", with_changes(HEALTHY, disk_free=1.5), ["1.5 GB free", "2 GB", "make clean"], ".venv/bin/python -m pip cache purge"),
    ("disk", "warning", with_changes(HEALTHY, disk_free=5.0), ["5.0 GB free"], ".venv/bin/python -m pip cache purge"),
    (
        "shared memory",
        "warning",
        with_changes(HEALTHY, shared_memory=0.064),
        ["0.1 GB free", "--shm-size"],
        "sudo mount -o remount,size=8G /dev/shm",
    ),
    ("shared memory", "problem", with_changes(HEALTHY_GPU, shared_memory=0.064), ["--shm-size"], "sudo mount -o remount,size=8G /dev/shm"),
    ("open files", "problem", with_changes(HEALTHY, open_files=(256, 4096)), ["256", "1024"], "ulimit -n 1024"),
    ("open files", "problem", with_changes(HEALTHY, open_files=(256, 512)), ["256"], "sudo prlimit --pid $$ --nofile=1024"),
    (
        "urllib3",
        "warning",
        with_packages(HEALTHY, urllib3="2.5.0"),
        ["2.5.0", "less than 1.27"],
        ".venv/bin/python -m pip install --no-deps 'urllib3<1.27'",
    ),
    (
        "TensorBoard",
        "problem",
        with_packages(HEALTHY, tensorboard="2.20.0"),
        ["tensorboard 2.20.0", "setuptools 84"],
        ".venv/bin/python -m pip install --no-deps 'tensorboard>=2.21'",
    ),
    (
        "components",
        "problem",
        with_changes(HEALTHY, components=()),
        ["launch/search.py", "not installed"],
        ".venv/bin/python -m pip install --no-deps --no-build-isolation --editable .",
    ),
    (
        "commands",
        "warning",
        with_changes(HEALTHY, executable="/env/bin/python", on_path={"torchx": None, "torchrun": "/bin/torchrun"}),
        ["not on PATH: torchx"],
        'export PATH="/env/bin:$PATH"',
    ),
]


@pytest.mark.parametrize(("check", "status", "facts", "words", "mend"), BAD)
def test_a_bad_machine_is_found_out(check: str, status: str, facts: Facts, words: list[str], mend: str) -> None:
    found = finding(facts, check)
    assert (found.status, found.mend) == (status, mend)
    for word in words:
        assert word in found.found


def test_every_check_is_shown_a_bad_machine() -> None:
    assert {finding.check for finding in check_all(HEALTHY)} == {check for check, *_ in BAD}


def test_old_setuptools_makes_old_tensorboard_acceptable() -> None:
    assert finding(with_packages(HEALTHY, tensorboard="2.20.0", setuptools="80.9.0"), "TensorBoard").status == "ok"


def test_a_torch_that_cannot_be_imported_is_judged_by_its_version() -> None:
    broken = Probe("import torch", "OSError: libcudart.so.13")
    assert finding(with_changes(HEALTHY_GPU, probe=broken), "builds").status == "ok"
    assert finding(with_changes(HEALTHY, probe=broken), "builds").status == "ok"


TOLD = 'doctor:{"trying": "import torch"}\ndoctor:{"build": "cuda", "cuda": "13.0"}\na warning\ndoctor:{"trying": "import torchrec"}\n'


def test_the_probe_tells_a_crash_an_error_and_success_apart() -> None:
    assert read_probe(TOLD, "", -11) == Probe("import torchrec", "crashed with signal 11", "cuda", "13.0")
    error = read_probe(TOLD, "Traceback\n  File\nOSError: no library\n", 1)
    assert (error.failed, error.error) == ("import torchrec", "OSError: no library")
    good = read_probe(TOLD + 'doctor:{"cuda_available": true, "trying": ""}\n', "a warning", 0)
    assert good == Probe(build="cuda", cuda="13.0", cuda_available=True)
    assert read_probe("", "", 127).failed == "start"


@pytest.mark.parametrize(
    ("facts", "code"), [(HEALTHY, 0), (with_changes(HEALTHY, disk_free=5.0), 0), (with_packages(HEALTHY, torchrec="1.7.0"), 1)]
)
def test_the_exit_code_counts_problems_and_not_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], facts: Facts, code: int
) -> None:
    monkeypatch.setattr(doctor, "gather", lambda: facts)
    assert run_doctor(as_json=True) == code
    printed = json.loads(capsys.readouterr().out)
    assert [Finding(**entry) for entry in printed] == check_all(facts)


def test_commands_are_printed_whole_and_once() -> None:
    facts = with_changes(with_packages(HEALTHY, fbgemm_gpu="1.8.0"), probe=Probe("import fbgemm_gpu", "OSError: [no] library", build="cpu"))
    console = Console(file=io.StringIO(), width=80)
    doctor._print(check_all(facts), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.count(finding(facts, "one fbgemm").mend) == 1
    assert "to mend one fbgemm, libraries:" in printed
    assert "[no] library" in printed


def test_the_facts_of_this_machine_are_gathered() -> None:
    facts = gather()
    assert facts.probe.failed == "", facts.probe.error
    assert facts.disk_free > 0
    assert finding(facts, "libraries").status == "ok"
    assert finding(facts, "versions").status == "ok"
