"""Makes .venv as one of the lock files says: `make setup`, or `make setup DEVICE=cpu|cuda` to choose oneself.

A set-up that is complete and current is left alone; one that was cut off, or whose lock has changed since, is finished.
Standard library only, since it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "set-up.json"
LOG = VENV / "set-up.log"
# pip compiles what it installs: where PYTHONDONTWRITEBYTECODE is set, as in many images, nothing else ever would, and each job would
# spend ten seconds more on its imports.
INSTALL = ("install", "--no-deps")
PYTHONS = [(3, 11), (3, 12), (3, 13), (3, 14)]
NEEDED_GB = {"cpu": 3, "cuda": 14}
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def use_supported_python() -> None:
    """Go on under another Python of this machine if the one that runs is .venv's own, too old or too new."""
    if Path(sys.prefix) == VENV:  # somebody activated .venv: it cannot make itself anew
        base = os.path.realpath(sys.executable)
        os.execv(base, [base, *sys.argv])
    if sys.version_info[:2] in PYTHONS:
        return
    for major, minor in PYTHONS:
        found = shutil.which(f"python{major}.{minor}")
        works = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
        if found and works:
            os.execv(found, [found, *sys.argv])
    ours = ".".join(map(str, sys.version_info[:3]))
    fail(f"Python 3.11 to 3.14 is needed, and {sys.executable} is {ours}; install one, or name it: make setup PYTHON=/path/to/python3.11")


def chosen_device(forced: str | None) -> str:
    """The device asked for, else that of the present .venv, else what the machine has."""
    if forced:
        return forced
    if stamped := read_stamp():
        return stamped["device"]
    smi = shutil.which("nvidia-smi")
    found = smi and subprocess.run([smi, "-L"], capture_output=True, check=False, text=True)
    return "cuda" if found and found.returncode == 0 and "GPU" in found.stdout else "cpu"


def lock_path(device: str) -> Path:
    return ROOT / "requirements" / f"{device}.lock"


def wanted_stamp(device: str) -> dict[str, str]:
    """What the stamp of a set-up that needs nothing more says."""
    sources = (lock_path(device), ROOT / "setup.py")
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    return {"device": device, "root": str(ROOT), "sources_sha256": digest}


def read_stamp() -> dict[str, str]:
    """The stamp of the last set-up that came to its end; empty if there is none."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and stamp.get("device") in NEEDED_GB else {}


def pins(device: str) -> dict[str, str]:
    """Name to version, of every package in a lock."""
    return dict(re.findall(r"^([a-z0-9-]+)===?(\S+)", lock_path(device).read_text(), flags=re.MULTILINE))


def site_packages() -> Path:
    return next(VENV.glob("lib/python3*/site-packages"), VENV / "missing")


def installed() -> dict[str, str]:
    """Name to version, of every package whose installation in .venv came to its end (pip writes INSTALLER after the files)."""
    finished = [path.parent.name.removesuffix(".dist-info") for path in site_packages().glob("*.dist-info/INSTALLER")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (entry.partition("-") for entry in finished)}


def aliens(device: str) -> set[str]:
    """Installed packages that belong to the other device's set-up alone."""
    other = "cuda" if device == "cpu" else "cpu"
    return installed().keys() & (pins(other).keys() - pins(device).keys())


def is_current(device: str) -> bool:
    """Whether nothing is left to do; looks at the packages too, since `pip install` may have changed them since."""
    return (
        read_stamp() == wanted_stamp(device)
        and (VENV / "bin" / "python").exists()
        and pins(device).items() <= installed().items()
        and not aliens(device)
    )


def check_disk(device: str) -> None:
    if installed().get("torch") == pins(device)["torch"]:  # the large part is done
        return
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB[device]:
        fail(f"{free:.1f} GB free on the disk of {ROOT}, and a {device} set-up needs about {NEEDED_GB[device]} GB; make room and run again")


def run(command: list[str]) -> str:
    """Run it with its output in the log; returns "" if it went well, else the line that says most about the failure."""
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if VENV.is_dir():
        with LOG.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{finished.stdout}\n")
    if finished.returncode == 0:
        return ""
    lines = [line.strip() for line in finished.stdout.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?i)error", line)]
    return re.sub(r"(?i)^error: ", "", (errors or lines or [f"exit code {finished.returncode}"])[-1])[:300]


def pip(*arguments: str) -> str:
    return run([str(VENV / "bin" / "python"), "-m", "pip", *arguments])


def make_venv() -> None:
    """A new .venv, unless the one that is there can run pip under a supported Python."""
    python = VENV / "bin" / "python"
    probe = f"import sys, pip; sys.exit(sys.version_info[:2] not in {PYTHONS})"
    if python.exists() and not run([str(python), "-c", probe]):
        return
    trouble = run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if trouble:
        fail(f"cannot make {VENV}: {trouble} (on Debian and Ubuntu: apt install python3-venv)")


def clear_leftovers(device: str) -> None:
    """Remove what would mislead pip: packages of a cut-off install, and those of the other device."""
    unfinished = [info for info in site_packages().glob("*.dist-info") if not (info / "INSTALLER").exists()]
    for path in [*unfinished, *site_packages().glob("~*")]:  # pip renames a package to ~... before it removes it
        shutil.rmtree(path, ignore_errors=True)
    alien = aliens(device)
    if alien:
        # Both fbgemm packages install the same files, so removing one leaves the other broken: remove both.
        doomed = alien | (installed().keys() & {"fbgemm-gpu", "fbgemm-gpu-cpu"})
        trouble = pip("uninstall", "--yes", *sorted(doomed))
        if trouble:
            fail(f"cannot remove packages that do not belong in a {device} set-up: {trouble}; remove {VENV} and run again")


def install_packages(device: str) -> None:
    if device == "cpu":  # its torch is not on PyPI
        torch = f"torch=={pins(device)['torch']}"
        if pip(*INSTALL, torch):
            trouble = pip(*INSTALL, "--index-url", TORCH_CPU_INDEX, torch)
            if trouble:
                fail(f"no {torch} on the configured package indexes nor on {TORCH_CPU_INDEX}: {trouble}; check the network and run again")
    trouble = pip(*INSTALL, "--requirement", str(lock_path(device)))
    if trouble:
        fail(f"pip could not install requirements/{device}.lock: {trouble}; check the network and run again (all output: {LOG})")
    trouble = pip(*INSTALL, "--no-build-isolation", "--editable", ".")
    if trouble:
        fail(f"pip could not install the project itself: {trouble} (all output: {LOG})")


def set_up(forced: str | None) -> None:
    device = chosen_device(forced)
    if is_current(device):
        print(f".venv is up to date ({device})")
        return
    start = time.monotonic()
    check_disk(device)
    STAMP.unlink(missing_ok=True)
    make_venv()
    clear_leftovers(device)
    missing = len(pins(device).items() - installed().items())
    print(f"setting up .venv for {device}: {missing} of {len(pins(device))} packages to install", flush=True)
    install_packages(device)
    STAMP.write_text(json.dumps(wanted_stamp(device)))
    print(f".venv is ready ({time.monotonic() - start:.0f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cpu or cuda; default: that of the present .venv, else what the machine has")
    arguments = parser.parse_args()
    if arguments.device not in (None, *NEEDED_GB):
        fail(f"no device {arguments.device!r}: choose cpu or cuda, as in `make setup DEVICE=cpu`")
    use_supported_python()
    if platform.system() != "Linux":
        fail(f"Linux is needed, since fbgemm-gpu has no packages for {platform.system()}; a Linux container works")
    folder = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # a second set-up of this checkout waits for the first
    try:
        set_up(arguments.device)
    except KeyboardInterrupt:
        fail("interrupted; run again to go on")


if __name__ == "__main__":
    main()
