"""Set-up as a new user meets it: complete locks, an installer that repeats safely and explains itself, entry points, habits."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
DEVICES = ("cpu", "cuda")
FBGEMM = {"cpu": "fbgemm-gpu-cpu", "cuda": "fbgemm-gpu"}


def load_installer(root: Path) -> Any:
    """The installer, working on the checkout `root`."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "requirements" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = root / ".venv"
    module.ROOT, module.VENV, module.STAMP, module.LOG = root, venv, venv / "set-up.json", venv / "set-up.log"
    return module


def locked(device: str) -> dict[str, str]:
    return load_installer(ROOT).pins(device)


# The locks


@pytest.mark.parametrize("device", DEVICES)
def test_a_lock_pins_every_line_once_and_in_order(device: str) -> None:
    text = (ROOT / "requirements" / f"{device}.lock").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert len(locked(device)) == len(lines), "a line without an exact version"
    assert "make lock" in text
    assert "--no-deps" in text


@pytest.mark.parametrize("device", DEVICES)
def test_a_lock_holds_every_direct_dependency_of_setup_py(device: str) -> None:
    pins = locked(device)
    extras = (device, "dev", "")
    for text in metadata.requires("recsys-nas") or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            assert requirement.specifier.contains(pins[requirement.name]), (
                f"{requirement} in setup.py and {pins[requirement.name]} in the lock"
            )


@pytest.mark.parametrize("device", DEVICES)
def test_a_lock_is_complete(device: str) -> None:
    """What the locked packages ask for is locked too, at a version they accept; but for the one fbgemm the machine is not for."""
    pins = locked(device)
    checked = 0
    for name in pins:
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of the other device, or the machine's own environment
            continue
        for requirement in map(Requirement, wanted):
            needed = canonicalize_name(requirement.name)
            if needed in FBGEMM.values() or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            assert requirement.specifier.contains(pins[needed], prereleases=True), (
                f"{name} asks for {requirement}, and {pins[needed]} is locked"
            )
            checked += 1
    assert checked > 50


def test_each_device_has_its_own_fbgemm_and_shares_all_else() -> None:
    cpu, cuda = locked("cpu"), locked("cuda")
    assert {name for name in cpu if name.startswith("fbgemm")} == {"fbgemm-gpu-cpu"}
    assert {name for name in cuda if name.startswith("fbgemm")} == {"fbgemm-gpu"}
    assert cpu["torch"] == cuda["torch"] + "+cpu"
    assert not [name for name in cpu if re.match(r"nvidia-|cuda-|triton", name)]
    shared = (cpu.keys() & cuda.keys()) - {"torch"}
    assert {name: cpu[name] for name in shared} == {name: cuda[name] for name in shared}
    assert cpu.keys() - cuda.keys() == {"fbgemm-gpu-cpu"}


def test_torch_torchrec_and_fbgemm_go_together() -> None:
    for device in DEVICES:
        pins = locked(device)
        minor = int(pins["torch"].split(".")[1]) - 5
        assert pins["torchrec"].startswith(f"1.{minor}.")
        assert pins[FBGEMM[device]].startswith(f"1.{minor}.")


def test_the_cuda_torch_cannot_be_met_by_an_installed_cpu_torch() -> None:
    (line,) = [line for line in (ROOT / "requirements" / "cuda.lock").read_text().splitlines() if line.startswith("torch=")]
    specifier = Requirement(line.partition(" ")[0]).specifier
    assert specifier.contains(locked("cuda")["torch"])
    assert not specifier.contains(locked("cpu")["torch"])


# The installer


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout: two locks, setup.py, and a .venv that holds nothing."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "cpu.lock").write_text("# note\nfbgemm-gpu-cpu==1.8.0  # via us\nrich==15.0.0\ntorch==2.13.0+cpu\n")
    (tmp_path / "requirements" / "cuda.lock").write_text("fbgemm-gpu==1.8.0\nnvidia-nvtx==13.0.85\nrich==15.0.0\ntorch===2.13.0\n")
    (tmp_path / "setup.py").write_text("")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text("")
    return tmp_path


def put(checkout: Path, *packages: str, finished: bool = True) -> None:
    """Leave what pip leaves of packages named as `name-version`."""
    for package in packages:
        folder = checkout / ".venv" / "lib" / "python3.11" / "site-packages" / f"{package}.dist-info"
        folder.mkdir(parents=True)
        if finished:
            (folder / "INSTALLER").write_text("pip")


CPU_PACKAGES = ("fbgemm_gpu_cpu-1.8.0", "rich-15.0.0", "torch-2.13.0+cpu")


@pytest.fixture
def installer(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The installer on that checkout, with a pip that only notes what it was asked, and a machine without a GPU."""
    module = load_installer(checkout)
    module.asked = []
    module.answers = {}  # words of a command -> what went wrong

    def run(command: list[str]) -> str:
        text = " ".join(command)
        module.asked.append(text.replace(str(checkout), ""))
        return next((answer for words, answer in module.answers.items() if words in text), "")

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


def test_a_fresh_set_up_installs_torch_then_the_lock_then_the_project(installer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    installer.set_up(None)
    assert [text.partition(" -m ")[2] for text in installer.asked[1:]] == [
        "pip install --no-deps torch==2.13.0+cpu",
        "pip install --no-deps --requirement /requirements/cpu.lock",
        "pip install --no-deps --no-build-isolation --editable .",
    ]
    assert "3 of 3 packages" in capsys.readouterr().out
    assert installer.read_stamp()["device"] == "cpu"


def test_a_second_set_up_does_nothing(checkout: Path, installer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    installer.set_up(None)
    put(checkout, *CPU_PACKAGES)
    installer.asked.clear()
    capsys.readouterr()
    installer.set_up(None)
    assert installer.asked == []
    assert capsys.readouterr().out == ".venv is up to date (cpu)\n"


@pytest.mark.parametrize("change", ["lock", "setup.py", "other version", "other fbgemm", "moved checkout"])
def test_a_set_up_that_is_no_longer_right_is_done_again(checkout: Path, installer: Any, change: str) -> None:
    installer.set_up(None)
    put(checkout, *CPU_PACKAGES)
    assert installer.is_current("cpu")
    site = installer.site_packages()
    if change == "lock":
        (checkout / "requirements" / "cpu.lock").write_text("rich==15.0.0\ntorch==2.13.0+cpu\n")
    elif change == "setup.py":
        (checkout / "setup.py").write_text("# new entry point")
    elif change == "other version":
        (site / "rich-15.0.0.dist-info").rename(site / "rich-14.0.0.dist-info")
    elif change == "other fbgemm":
        put(checkout, "fbgemm_gpu-1.8.0")
    else:
        installer.STAMP.write_text(json.dumps({**installer.read_stamp(), "root": "/elsewhere"}))
    assert not installer.is_current("cpu")


def test_both_fbgemm_are_removed_when_one_does_not_belong(checkout: Path, installer: Any) -> None:
    put(checkout, *CPU_PACKAGES, "fbgemm_gpu-1.8.0", "nvidia_nvtx-13.0.85", "somebody_elses-1.0")
    installer.clear_leftovers("cpu")
    assert installer.asked == ["/.venv/bin/python -m pip uninstall --yes fbgemm-gpu fbgemm-gpu-cpu nvidia-nvtx"]


def test_what_a_killed_pip_left_is_cleared(checkout: Path, installer: Any) -> None:
    put(checkout, *CPU_PACKAGES)
    put(checkout, "scipy-1.0", finished=False)
    (installer.site_packages() / "~ich").mkdir()
    installer.clear_leftovers("cpu")
    assert sorted(path.name for path in installer.site_packages().iterdir()) == sorted(f"{name}.dist-info" for name in CPU_PACKAGES)
    assert installer.asked == []


def test_torch_comes_from_its_own_index_where_no_other_has_it(installer: Any) -> None:
    installer.answers = {"--no-deps torch==": "no matching distribution"}
    installer.install_packages("cpu")
    assert installer.asked[1].endswith("--index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu")
    assert len(installer.asked) == 4


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"torch==": "Connection refused"}, ["torch==2.13.0+cpu", "download.pytorch.org", "Connection refused", "network"]),
        (
            {"--requirement": "No matching distribution found for rich"},
            ["cpu.lock", "No matching distribution found for rich", "run again"],
        ),
        ({"--editable": "no setuptools"}, ["the project itself", "no setuptools"]),
        ({"import sys": "broken", "-m venv": "ensurepip is not available"}, ["ensurepip is not available", "apt install python3-venv"]),
    ],
)
def test_what_cannot_be_installed_is_said_in_one_line(
    installer: Any, capsys: pytest.CaptureFixture[str], answers: dict[str, str], words: list[str]
) -> None:
    installer.answers = answers
    with pytest.raises(SystemExit) as stopped:
        installer.set_up(None)
    assert_one_error(stopped, capsys, words)
    assert not installer.STAMP.exists(), "a failed set-up must not look finished"


def test_a_full_disk_is_noticed_before_anything_is_written(
    installer: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(installer.shutil, "disk_usage", lambda path: usage(10, 9, 1_200_000_000))
    with pytest.raises(SystemExit) as stopped:
        installer.set_up(None)
    assert_one_error(stopped, capsys, ["1.2 GB free", "about 3 GB"])
    assert installer.asked == []


def test_an_old_python_is_refused_in_one_line(installer: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer.sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit) as stopped:
        installer.use_supported_python()
    assert_one_error(stopped, capsys, ["3.11 to 3.14", "3.9.18", "make setup PYTHON="])


def test_a_newer_python_of_the_machine_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_installer(tmp_path)
    works, broken = tmp_path / "python3.12", tmp_path / "python3.11"  # a broken one is passed over
    works.write_text("#!/bin/sh\nexit 0\n")
    broken.write_text("#!/bin/sh\nexit 127\n")
    for path in (works, broken):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(module.sys, "version_info", (3, 9, 18))
    taken: list[str] = []

    def execv(path: str, arguments: list[str]) -> None:
        taken.append(path)
        raise SystemExit(0)

    monkeypatch.setattr(module.os, "execv", execv)
    with pytest.raises(SystemExit):
        module.use_supported_python()
    assert taken == [str(works)]


def test_an_unknown_device_is_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    finished = subprocess.run([sys.executable, ROOT / "requirements" / "install.py", "--device", "tpu"], check=False)
    assert finished.returncode == 2
    assert re.fullmatch(r"error: .*'tpu'.*cpu or cuda.*\n", capfd.readouterr().err)


@pytest.mark.parametrize(
    ("script", "device"),
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", "cuda"),
        ("echo 'no driver' >&2; exit 9", "cpu"),
        ("echo 'No devices found.'", "cpu"),
        (None, "cpu"),
    ],
)
def test_the_device_is_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, device: str) -> None:
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    module = load_installer(tmp_path)
    assert module.chosen_device(None) == device
    assert module.chosen_device("cuda") == "cuda"


def test_a_forced_device_is_kept(installer: Any) -> None:
    installer.set_up("cuda")
    assert installer.chosen_device(None) == "cuda"


def test_the_line_of_pip_that_says_most_is_passed_on(checkout: Path) -> None:
    module = load_installer(checkout)
    assert module.run(["sh", "-c", "echo fine"]) == ""
    assert module.run(["sh", "-c", "echo 'ERROR: disk full'; echo 'a hint'; exit 1"]) == "disk full"
    assert module.run(["sh", "-c", "echo 'killed' >&2; exit 1"]) == "killed"
    assert module.run(["sh", "-c", "exit 7"]) == "exit code 7"
    assert "disk full" in module.LOG.read_text()


def assert_one_error(stopped: pytest.ExceptionInfo[SystemExit], capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    for word in words:
        assert word in message


# Entry points and habits


def test_torchx_knows_our_component_beside_its_own() -> None:
    code = """
from torchx.specs.finder import ModuleComponentsFinder, get_components
own = {found.name for found in ModuleComponentsFinder("torchx.components", "").find() if not found.validation_errors}
print(sorted(own - get_components().keys()), sorted(get_components().keys() - own))
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    missing, ours = re.findall(r"\[(.*?)\]", finished.stdout)
    assert missing == ""
    assert "'launch/search.py'" in ours


def test_the_console_commands_exist() -> None:
    scripts = {entry.name: entry for entry in metadata.distribution("recsys-nas").entry_points if entry.group == "console_scripts"}
    assert set(scripts) == {"recsys-nas", "data-prep"}
    for entry in scripts.values():
        assert callable(entry.load())


def test_every_package_and_its_templates_would_be_installed() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import setuptools; setuptools.setup = lambda **k: print(k['packages'], k['package_data']); import setup"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for name in ("data_prep", "embeddings", "recsys_nas", "launch")
        for path in (ROOT / name).rglob("*.py")
    }
    assert set(re.findall(r"'([a-z_.]+)'", shown.partition("]")[0])) == {folder.replace("/", ".") for folder in folders}
    assert "*.html" in shown


def test_plain_torchx_run_stays_on_this_machine() -> None:
    from torchx.runner.config import get_config

    assert get_config(prefix="cli", name="run", key="scheduler", dirs=[str(ROOT)]) == "local_cwd"


def test_continuous_integration_calls_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    commands = [line for line in script.splitlines() if line.startswith("make ")]
    assert commands == ["make setup", "make lint", "make test"]
    for command in ("make demo", "make test"):
        assert command in (ROOT / "README.md").read_text()


def test_make_lists_each_of_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split())  # type: ignore[index]
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\w+)", listed, flags=re.MULTILINE)) == targets
