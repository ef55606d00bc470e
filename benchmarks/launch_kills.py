"""Kills a small search with SIGKILL at random moments, runs it again, and compares with one that nobody disturbed.

    python benchmarks/launch_kills.py [--kills 20] [--seed 0] [--json OUT] [--folder F]

Victims are the controller, torchrun and a rank, in turn, each at a moment drawn from the length of the undisturbed run, or as soon after
it as the victim lives; a moment after which there was none left is drawn again. Checked each time: nothing is left running after a killed
controller; days that were done are not run again; the gates of all days, their aggregate and the architecture are, to the last digit,
those of the undisturbed run. Ends with exit code 1 when any of it does not hold. With `--folder`, what was done is kept there, and the
same command goes on with the kills that are left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
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

from benchmarks.measuring import machine
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
    """One disturbed run: what was killed and when, which days were done by then, and what did not hold afterwards.

    `steps` are those of the days that were in work: how far each had come.
    """

    victim: str
    after_seconds: float
    days_done: tuple[str, ...]
    steps: dict[str, int]
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
    files = {name: json.loads((run / name).read_text()) for name in ("alphas.json", "architecture.json")}
    del files["alphas.json"]["made_of"]  # digests of the days' files, which tell seconds too
    return {**days, **files}


def kill(folder: Path, name: str, victim: str, after_seconds: float, expected: dict[str, Any]) -> Kill | None:
    """Disturb one run and run it again; None when the victim was gone by then."""
    run = folder / "runs" / name
    process, began = start(folder, name), time.monotonic()
    time.sleep(after_seconds)
    killed = _kill_first(process, run, victim)
    if not killed:
        return None
    seconds = time.monotonic() - began
    done = {path.parent.name: path.stat().st_mtime_ns for path in run.glob("days/*/alphas.json")}
    steps = {path.parent.name: _last_step(path) for path in run.glob("days/*/metrics.jsonl") if path.parent.name not in done}
    attempts = {day: _attempts(run, day) for day in done}
    process.communicate(timeout=PATIENCE_SECONDS)
    faults = []
    if victim == "controller" and not _until(lambda: not _processes(run), 30.0):
        faults.append(f"left running: {_processes(run)}")
    _finish(start(folder, name, *(["--resume"] if (run / "config.toml").exists() else [])))
    if _processes(run):
        faults.append("left running at the end")
    faults += [f"{day} was run again" for day in done if _attempts(run, day) != attempts[day]]
    faults += [f"{day} was written again" for day, then in done.items() if (run / "days" / day / "alphas.json").stat().st_mtime_ns != then]
    found = outcome(run)
    faults += [f"{part} differs" for part in expected if found.get(part) != expected[part]]
    return Kill(victim, round(seconds, 2), tuple(sorted(done)), steps, tuple(faults))


def kills(folder: Path, count: int, seed: int, report: Callable[[Kill], None] = lambda _: None) -> list[Kill]:
    """`count` disturbed runs in `folder`; moments and victims follow from `seed`. Goes on with what `folder` holds of an earlier call."""
    record = folder / "kills.json"
    if not record.exists():
        make_data(folder)
        expected, seconds = undisturbed(folder)
        write_json(record, {"seed": seed, "expected": expected, "seconds": seconds, "kills": []})
    state = json.loads(record.read_text())
    if state["seed"] != seed:
        raise RuntimeError(f"{folder} holds kills of seed {state['seed']}")
    found = [Kill(**{**raw, "days_done": tuple(raw["days_done"]), "faults": tuple(raw["faults"])}) for raw in state["kills"]]
    while len(found) < count:
        found.append(_one_kill(folder, len(found), seed, state["seconds"], state["expected"]))
        write_json(record, {**state, "kills": [asdict(each) for each in found]})
        report(found[-1])
    return found


def _one_kill(folder: Path, number: int, seed: int, seconds: float, expected: dict[str, Any]) -> Kill:
    draw = random.Random(f"{seed} {number}")
    while True:
        shutil.rmtree(folder / f"runs/kill-{number}", ignore_errors=True)
        found = kill(folder, f"kill-{number}", VICTIMS[number % len(VICTIMS)], draw.uniform(0.05, 1.0) * seconds, expected)
        if found is not None:
            return found


def _kill_first(process: subprocess.Popen[str], run: Path, victim: str) -> bool:
    """Kill the first process of that kind, once there is one. False when the run ended before."""
    while process.poll() is None:
        for pid in [process.pid] if victim == "controller" else _processes(run, victim):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return True
        time.sleep(0.02)
    _finish(process)
    return False


def _last_step(metrics: Path) -> int:
    lines = metrics.read_text().rpartition("\n")[0].splitlines()
    return int(json.loads(lines[-1])["step"]) if lines else 0


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
    ask.add_argument("--folder", type=Path, help="where to work, and to go on when stopped")
    options = ask.parse_args(arguments)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as folder:
        found = kills(Path(folder), options.kills, options.seed, lambda each: print(each, flush=True))
    sound = sum(not each.faults for each in found)
    print(f"{sound} of {len(found)} runs ended as the undisturbed one")
    if options.json:
        write_json(options.json, {"machine": machine(("torch", "torchx")), "seed": options.seed, "kills": [asdict(each) for each in found]})
    return 0 if sound == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
