"""Derives cpu.lock and cuda.lock from setup.py: `make lock`, or `python requirements/lock.py --upgrade` for the newest versions.

Versions already in the locks are kept where they still fit. Needs uv, which reads the metadata of gigabytes of CUDA wheels
without downloading them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
UV = ["uv", "pip", "compile", "setup.py", "--quiet", "--no-header", "--annotation-style", "line", "--extra", "dev"]
OLDEST_PYTHON = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
# What torch from PyPI asks for and its CPU build does not.
CUDA_ONLY = re.compile(r"cuda-|nvidia-|triton$")

HEADER = """\
# Every package of a {device} set-up, at one exact version. Made by `make lock` from the lists in setup.py: edit those instead.
#
# Install with `pip install --no-deps -r requirements/{device}.lock` (`make setup` does). The list is complete, and --no-deps
# keeps pip from adding to it: torchrec asks for fbgemm-gpu, the CUDA build, which on a machine without CUDA replaces the
# files of fbgemm-gpu-cpu and makes `import torchrec` fail, while `pip check` stays silent.
"""
CPU_NOTE = """\
#
# torch+cpu is not on PyPI; `make setup` gets it from https://download.pytorch.org/whl/cpu where no configured index has it.
"""


def resolve(device: str, lines: list[str], excluded: list[str], upgrade: bool) -> list[str]:
    """The pinned lines of one device, with `lines` (an earlier lock) as the versions to prefer, and `excluded` packages left out."""
    with tempfile.TemporaryDirectory() as folder:
        output, excludes = Path(folder, "lock"), Path(folder, "excludes")
        output.write_text("\n".join(lines))
        excludes.write_text("\n".join(excluded))
        options = ["--extra", device, "--excludes", str(excludes), "--output-file", str(output), *(["--upgrade"] if upgrade else [])]
        finished = subprocess.run([*UV, *OLDEST_PYTHON, *options], cwd=FOLDER.parent, stdout=subprocess.DEVNULL, check=False)
        if finished.returncode:
            sys.exit(f"error: uv could not resolve the {device} dependencies of setup.py (its message is above); no lock was changed")
        return output.read_text().splitlines()


def name_of(line: str) -> str:
    return line.partition("==")[0]


def main() -> None:
    if shutil.which("uv") is None:
        sys.exit("error: uv is missing; install it with: pip install uv")
    path = FOLDER / "cuda.lock"
    old = [line for line in path.read_text().splitlines() if not line.startswith("#")] if path.exists() else []
    cuda = resolve("cuda", old, ["fbgemm-gpu-cpu"], upgrade="--upgrade" in sys.argv)
    cuda_only = [name for name in map(name_of, cuda) if CUDA_ONLY.match(name)]
    # The CPU set is resolved from the CUDA one, so that every package common to both has one version.
    cpu = resolve("cpu", cuda, ["fbgemm-gpu", *cuda_only], upgrade=False)
    cpu = [re.sub(r"^torch==(\S+)    ", r"torch==\1+cpu", line) for line in cpu]
    # `==2.13.0` would be content with an installed 2.13.0+cpu; `===` is not.
    cuda = [re.sub(r"^torch==(\S+) ", r"torch===\1", line) for line in cuda]
    for device, lines, note in (("cpu", cpu, CPU_NOTE), ("cuda", cuda, "")):
        text = HEADER.format(device=device) + note + "\n" + "\n".join(sorted(lines, key=name_of)) + "\n"
        (FOLDER / f"{device}.lock").write_text(text)
        print(f"requirements/{device}.lock: {len(lines)} packages")


if __name__ == "__main__":
    main()
