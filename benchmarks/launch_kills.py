"""Kills a small search with SIGKILL at random moments, runs it again, and compares with one that nobody disturbed.

    python benchmarks/launch_kills.py [--kills 20] [--seed 0] [--json OUT]

Victims are the controller, torchrun and a rank, in turn, each at a moment drawn from the length of the undisturbed run. Checked each
time: nothing is left running after a killed controller; days that were done are not run again; the gates of all days, their aggregate
and the architecture are, to the last digit, those of the undisturbed run. Ends with exit code 1 when any of it does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.atomic import write_json
from data_prep.cli import main as data_prep

VICTIMS = ("controller", "torchrun", "rank")
PATIENCE_SECONDS = 300.0
CONFIG = """
output = "runs"
[data]
shards = "shards"
search_days = "0-1"
train_days = "0-1"
test_day = 2
[embedding]
dim = 4
[search]
batch_size = 32
checkpoint_every_steps = 20
[launch]
max_parallel = 2
"""


@dataclass(frozen=True)
class Kill:
    """One disturbed run: what was killed and when, which days were done by then, and what did not hold afterwards."""

    victim: str
    after_seconds: float
    was_there: bool
    days_done: tuple[str, ...]
    faults: tuple[str, ...]


def make_data(folder: Path, rows_per_day: int = 6000) -> None:
    """Three days of made-up shards and the config of a search on two of them."""
    words = ["synth", "--out", f"{folder}/raw", "--days", "3", "--rows-per-day", str(rows_per_day), "--seed", "0"]
    prepared = ["run", "--input", f"{folder}/raw/day_*", "--schema", "criteo", "--out", f"{folder}/shards"]
    if data_prep(words) or data_prep(prepared):
        raise RuntimeError("no data")
    (folder / "small.toml").write_text(CONFIG)


def start(folder: Path, name: str, *words: str) -> subprocess.Popen[str]:
    """The controller of a search, on its own."""
    command = [sys.executable, "-m", "launch.controller", "--config", "small.toml", "--stages", "search", *words, f"name={name}"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def undisturbed(folder: Path) -> tuple[dict[str, Any], float]:
    """What a search ends with, and the seconds it takes."""
    began = time.monotonic()
    _finish(start(folder, "undisturbed"))
    return outcome(folder / "runs/undisturbed"), time.monotonic() - began


def outcome(run: Path) -> dict[str, Any]:
    """Gates of each day, aggregate and architecture."""
    days = {path.parent.name: json.loads(path.read_text())["gates"] for path in sorted(run.glob("days/*/alphas.json"))}
    return {**days, **{name: json.loads((run / name).read_text()) for name in ("alphas.json", "architecture.json")}}


def kill(folder: Path, name: str, victim: str, after_seconds: float, expected: dict[str, Any]) -> Kill:
    """Disturb one run and run it again."""
    run, faults = folder / "runs" / name, []
    process = start(folder, name)
    time.sleep(after_seconds)
    there = [process.pid] if victim == "controller" else _processes(run, victim)
    for pid in there[:1]:
        os.kill(pid, signal.SIGKILL)
    done = {path.parent.name: path.stat().st_mtime_ns for path in run.glob("days/*/alphas.json")}
    attempts = {day: _attempts(run, day) for day in done}
    if victim == "controller":
        process.communicate()
        if not _until(lambda: not _processes(run), 30.0):
            faults.append(f"left running: {_processes(run)}")
    else:
        process.communicate(timeout=PATIENCE_SECONDS)
    _finish(start(folder, name, *(["--resume"] if (run / "config.toml").exists() else [])))
    if _processes(run):
        faults.append("left running at the end")
    faults += [f"{day} was run again" for day in done if _attempts(run, day) != attempts[day]]
    faults += [f"{day} was written again" for day, then in done.items() if (run / "days" / day / "alphas.json").stat().st_mtime_ns != then]
    found = outcome(run)
    faults += [f"{part} differs" for part in expected if found.get(part) != expected[part]]
    return Kill(victim, after_seconds, bool(there), tuple(sorted(done)), tuple(faults))


def kills(folder: Path, count: int, seed: int, report: Callable[[Kill], None] = lambda _: None) -> list[Kill]:
    """`count` disturbed runs in `folder`, which is empty; moments and victims follow from `seed`."""
    make_data(folder)
    expected, seconds = undisturbed(folder)
    draw = random.Random(seed)
    found = []
    for number in range(count):
        found.append(kill(folder, f"kill-{number}", VICTIMS[number % len(VICTIMS)], draw.uniform(0.05, 1.0) * seconds, expected))
        report(found[-1])
    return found


def _attempts(run: Path, day: str) -> int:
    return len(list((run / "logs" / f"search-day-{int(day.removeprefix('day='))}").glob("attempt=*")))


def _processes(run: Path, kind: str = "") -> list[int]:
    """Processes whose command line names the run: torchrun's, the ranks', or all."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        is_of_run = f"{run.parent.name}/{run.name} " in words
        if is_of_run and (not kind or (kind == "torchrun") == ("torchrun" in words)):
            found.append(int(path.parent.name))
    return found


def _finish(process: subprocess.Popen[str]) -> None:
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    if process.returncode:
        raise RuntimeError(out)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def main(arguments: Sequence[str] | None = None) -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--kills", type=int, default=20)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--json", type=Path, help="write the records here too")
    options = ask.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = kills(Path(folder), options.kills, options.seed, lambda each: print(each, flush=True))
    sound = sum(not each.faults for each in found)
    print(f"{sound} of {len(found)} runs ended as the undisturbed one")
    if options.json:
        write_json(options.json, {"seed": options.seed, "kills": [asdict(each) for each in found]})
    return 0 if sound == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
