"""Killed at any moment of either pass, or out of disk, a run goes on where it was, and leaves the bytes of an undisturbed one.

A moment is told by how many files and folders have appeared in the output, since a clock would tell little on a busy machine.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

from tests.data_prep.test_prepare import tree

RULES = {
    "modulo": ["--hash", "modulo", "--buckets", "500"],
    "frequency": ["--hash", "frequency", "--threshold", "2"],
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.getcwd()}
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
CAP_SYS_ADMIN = 21


def may_mount() -> bool:
    """Whether Linux lets this process mount a disk. Without that right, test_files_that_cannot_grow_stop_with_one_line is what is left."""
    found = re.search(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text()) if sys.platform == "linux" else None
    return found is not None and bool(int(found[1], 16) >> CAP_SYS_ADMIN & 1)


Undisturbed = Callable[[str], tuple[dict[str, bytes], int]]


def command(raw: Path, out: Path, rules: str) -> list[str]:
    """A run of small parts in two processes of two threads."""
    inputs = ["--input", f"{raw}/day_*", "--out", str(out), "--workers", "4", "--part-rows", "500"]
    return [sys.executable, "-m", "data_prep.cli", "run", *inputs, *RULES[rules]]


def run(raw: Path, out: Path, rules: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(raw, out, rules), env=ENVIRONMENT, capture_output=True, text=True, check=False)


@contextmanager
def started(raw: Path, out: Path, rules: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run in a process group of its own, of which nobody is left in the end."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    parent = subprocess.Popen(command(raw, out, rules), env=ENVIRONMENT, start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        yield parent
    finally:
        if processes(parent.pid):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()


def until_seen(number: int, parent: subprocess.Popen[bytes], out: Path) -> int:
    """Wait until `number` different files and folders have been seen below `out`, or the run has ended; returns how many were."""
    before = set(out.rglob("*"))
    seen: set[Path] = set()
    while len(seen) < number and parent.poll() is None:
        seen.update(Path(folder) / name for folder, folders, files in os.walk(out) for name in (*folders, *files))
        seen -= before
        time.sleep(0.002)
    return len(seen)


@pytest.fixture(scope="module")
def undisturbed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Of each rule: the files of a run that nobody disturbed, and how many were seen on its way."""

    @cache
    def made(rules: str) -> tuple[dict[str, bytes], int]:
        out = tmp_path_factory.mktemp(rules)
        with started(raw, out, rules) as parent:
            seen = until_seen(10**9, parent, out)
            assert parent.wait() == 0
        return tree(out), seen

    return made


def processes(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def killed_at(moment: int, whole_group: bool, raw: Path, out: Path, rules: str) -> bool:
    """Run until so many files were seen, and kill the run, or its parent process alone; returns whether it was still going."""
    with started(raw, out, rules) as parent:
        until_seen(moment, parent, out)
        if parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL) if whole_group else parent.kill()
        code = parent.wait()
        deadline = time.monotonic() + 60
        while processes(parent.pid):
            assert time.monotonic() < deadline, "workers outlived their run"
            time.sleep(0.01)
    return code == -signal.SIGKILL


def assert_survives(moments: int, seed: int, rules: str, raw: Path, out: Path, undisturbed: Undisturbed) -> None:
    """Kill runs at random moments, every second one being a run that goes on with what the one before left; the last one finishes."""
    files, most = undisturbed(rules)
    rng = random.Random(seed)
    killed = tried = 0
    while killed < moments:
        # On a busy machine many files may come between two looks, so a run may be over before its moment is noticed.
        assert tried < 4 * moments, f"only {killed} of {tried} runs were still going when they were to be killed"
        if tried % 2 == 0:
            shutil.rmtree(out, ignore_errors=True)
        moment = rng.randint(1, most * 4 // 5 if tried % 2 == 0 else most // 5)
        killed += killed_at(moment, rng.random() < 0.5, raw, out, rules)
        tried += 1
    finished = run(raw, out, rules)
    assert finished.returncode == 0, finished.stderr
    assert tree(out) == files


@needs_proc
def test_killed_at_three_moments(raw: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    assert_survives(3, 3, "frequency", raw, tmp_path / "out", undisturbed)


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("rules", RULES)
def test_killed_at_twenty_moments(rules: str, raw: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    """Each day and part finished by whichever run of the twenty, and both passes met many times."""
    assert_survives(20, 1, rules, raw, tmp_path / "out", undisturbed)


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A disk in memory, mounted at `folder`; yields what gives it another size."""
    folder.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], check=True)

    mount("-t", "tmpfs", "-o", "size=1k", "tmpfs")
    try:
        yield lambda size: mount("-o", f"remount,size={size}k")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


SMALL_DISKS = {"modulo": (300, 900), "frequency": (120, 500, 900)}
"""Kilobytes, and what is full when: a day of the first pass, the vocabulary or a day of the second."""


@pytest.mark.skipif(not may_mount(), reason="mounts a small disk, which takes CAP_SYS_ADMIN")
@pytest.mark.parametrize("rules", RULES)
def test_a_full_disk_stops_with_one_line_and_loses_nothing(rules: str, raw: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    """What was finished stays, whatever else is removed, and with room made the run ends with the same bytes."""
    blind = "import data_prep.prepare as p, data_prep.cli as c, sys; p.require_free = lambda *_: None; sys.exit(c.main(sys.argv[1:]))"
    arguments = command(raw, tmp_path / "disk/out", rules)[3:]
    arguments[arguments.index("--workers") + 1] = "1"
    with small_disk(tmp_path / "disk") as resize:
        out = tmp_path / "disk/out"
        kept: set[str] = set()
        for kilobytes in SMALL_DISKS[rules]:
            resize(kilobytes)
            told = subprocess.run([sys.executable, "-c", blind, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False)
            assert told.returncode == 2, told.stderr
            assert "Traceback" not in told.stderr
            errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1
            assert errors[0].startswith(f"error: {out}/")
            assert "No space left on device; what is finished is kept, run again to continue" in errors[0]
            assert not list(out.glob(".work/*.tmp-*"))
            finished = {path.name for path in (*out.glob("day=*"), *out.glob("vocabulary"))}
            assert kept <= finished
            kept = finished
        assert "day=00" in kept, "a day should have found room on the last disk"
        resize(1 << 16)
        last = run(raw, out, rules)
        assert last.returncode == 0, last.stderr
        assert tree(out) == undisturbed(rules)[0]


FULL_AT_A_WRITE = """
    import resource, signal, sys
    from data_prep import prepare
    from data_prep.cli import main

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    sys.exit(main(sys.argv[2:]))
"""


def test_files_that_cannot_grow_stop_with_one_line(raw: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    """The same without root: files of more than 30 kB cannot be written, so a write fails half-way."""
    arguments = command(raw, tmp_path, "frequency")[3:]
    arguments[arguments.index("--workers") + 1] = "1"
    code = [sys.executable, "-c", dedent(FULL_AT_A_WRITE), "30000", *arguments]
    told = subprocess.run(code, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert told.returncode == 2, told.stderr
    assert told.stderr.splitlines()[-1].startswith(f"error: {tmp_path}")
    assert "File too large; what is finished is kept, run again to continue" in told.stderr
    assert "Traceback" not in told.stderr
    assert not list(tmp_path.glob(".work/*.tmp-*"))
    assert run(raw, tmp_path, "frequency").returncode == 0
    assert tree(tmp_path) == undisturbed("frequency")[0]
