"""The image, as far as it can be looked at without a Docker daemon: what it copies is there, and it is set up as a machine is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]


def test_what_is_copied_is_there_and_kept_by_dockerignore() -> None:
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")}
    sources = [source for verb, rest in STEPS if verb == "COPY" for source in rest.split()[:-1]]
    assert {"requirements", "setup.py", "Makefile", "."} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists() or source in ignored] == []
    assert {".venv", ".git", "data", "runs"} <= ignored


def test_it_is_set_up_by_the_same_locks() -> None:
    install = runpy.run_path(str(ROOT / "requirements/install.py"), run_name="install")
    runs = [rest for verb, rest in STEPS if verb == "RUN"]
    assert any(re.search(r"\bmake setup DEVICE=\$DEVICE$", run) for run in runs)
    assert not any("pip install" in run and "--no-deps" not in run for run in runs), "nothing but what the locks name"
    assert f"pip {' '.join(install['INSTALL'])} --no-build-isolation --editable ." in runs[-1]
    python = re.fullmatch(r"python:(\d+)\.(\d+)-slim-bookworm", dict(STEPS)["FROM"])
    assert python is not None
    assert (int(python[1]), int(python[2])) in install["PYTHONS"]


def test_jobs_find_their_commands() -> None:
    workdir = dict(STEPS)["WORKDIR"]
    assert dict(STEPS)["ENV"] == f"PATH={workdir}/.venv/bin:$PATH"
