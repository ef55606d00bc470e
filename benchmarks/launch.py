"""What launching adds to a day's work, and whether `recsys-nas simulate` foretells how long a search takes.

    python benchmarks/launch.py [--rows-per-day 60000] [--repeats 3] [--at-once 1] [--json OUT]

One small search is run by the controller, a day at a time or both at once, and each of its days again as one plain process
(`python -m recsys_nas.jobs.search_day`), in turn. What a run takes beyond its seconds of training, less what the plain processes take
beyond theirs, is what launching and aggregation add: `overhead_seconds` a day, and `overhead_share` of a day of two minutes.
`start_share` leaves nothing out: all that is not training, imports of torch and torchrec included. Where the time of a day goes is read
from its processes and files.

Then runs of other sizes are foretold by the model of `recsys-nas simulate`, its rows/s and start-up measured on a run with a day a
worker, and compared with the clock.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import machine
from data_prep.atomic import write_json
from data_prep.cli import main as data_prep
from recsys_nas.campaign import Campaign, simulate

DAY_SECONDS = 120.0
SECONDS_BETWEEN_LOOKS = 0.02
OVERHEAD_DAYS, FORETOLD_DAYS = 2, 6
CONFIG = """
output = "runs"
[data]
shards = "shards"
search_days = "0"
train_days = "0"
test_day = {test_day}
[embedding]
dim = 8
"""
PARTS = {
    "queue": "from its place in the queue to a process: request, scheduling",
    "torchrun": "from torchrun's start to its rank's",
    "imports": "from the rank's start to the day's first own line: interpreter, torch, torchrec, process group",
    "assembly": "tables, plan, reader, checkpoints, curves: of the day's own work what is not training",
    "rank_end": "from the result to the rank's end",
    "torchrun_end": "from the rank's end to torchrun's",
    "polling": "from torchrun's end to the controller's word for it",
}


@dataclass(frozen=True)
class DayTimes:
    """Seconds of one day: `train`, and the PARTS of the rest."""

    train: float
    parts: dict[str, float]


@dataclass(frozen=True)
class RunTimes:
    """Seconds of one run by the controller: all of it, before its first day was scheduled, and after its last day was done."""

    wall: float
    before: float
    after: float
    days: tuple[DayTimes, ...]

    def training(self, at_once: int) -> float:
        """Of the clock's seconds: one after the other, or, where all days run at once, the longest."""
        trained = [day.train for day in self.days]
        return max(trained) if at_once == len(trained) else sum(trained)


class Watch:
    """Notes when processes whose command line names the run come and go, by kind and day, while its block lasts."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._seen: dict[tuple[str, int], list[float]] = {}
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def lived(self, kind: str, day: int) -> tuple[float, float]:
        """From when to when, in seconds since the epoch."""
        first, last = self._seen[kind, day]
        return first, last

    def _look(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = path.read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if self._run in words and "--day" in words:
                    kind = "torchrun" if any(word.endswith("torchrun") for word in words) else "rank"
                    now = time.time()
                    self._seen.setdefault((kind, int(words[words.index("--day") + 1])), [now, now])[1] = now


def run_controller(folder: Path, name: str, days: int, max_parallel: int) -> RunTimes:
    """One search on that many days, and its times."""
    words = ["--config", "small.toml", "--stages", "search", f"name={name}"]
    words += [f"data.search_days='0-{days - 1}'", f"launch.max_parallel={max_parallel}", f"data.train_days='0-{days - 1}'"]
    run, said = folder / "runs" / name, {}
    with Watch(f"runs/{name}") as watch:
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "launch.controller", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            said[line.partition(";")[0].partition(" in ")[0].strip()] = time.time()
        if process.wait():
            sys.exit(f"error: the run failed: {list(said)}")
        ended = time.time()
    scheduled = {day: (run / f"logs/search-day-{day}/attempt=1").stat().st_ctime for day in range(days)}
    handles = [(run / f"logs/search-day-{day}/attempt=1/handle").stat().st_mtime for day in range(days)]
    done = {day: said[f"[search day {day}] done"] for day in range(days)}
    times = tuple(_day_times(run, day, handles[day], done[day], watch) for day in scheduled)
    return RunTimes(ended - began, min(handles) - began, ended - max(done.values()), times)


def _day_times(run: Path, day: int, handle: float, done: float, watch: Watch) -> DayTimes:
    result = run / f"days/day={day:02d}/alphas.json"
    record, written = json.loads(result.read_text()), result.stat().st_mtime
    torchrun, rank = watch.lived("torchrun", day), watch.lived("rank", day)
    moments = (handle, torchrun[0], rank[0], written - record["seconds"])
    ends = (written, rank[1], torchrun[1], done)
    parts = dict(zip(("queue", "torchrun", "imports"), (b - a for a, b in itertools.pairwise(moments)), strict=True))
    parts["assembly"] = record["seconds"] - record["train_seconds"]
    parts |= dict(zip(("rank_end", "torchrun_end", "polling"), (b - a for a, b in itertools.pairwise(ends)), strict=True))
    return DayTimes(record["train_seconds"], parts)


def run_plain(folder: Path, name: str, at_once: int) -> list[tuple[float, float]]:
    """The same days without any launching, each a process of its own: seconds in all, and of training, of each."""
    run = folder / "runs" / name
    run.mkdir()
    (run / "config.toml").write_text((folder / "runs/launched-0/config.toml").read_text())
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(partial(_plain_day, folder, name), range(OVERHEAD_DAYS)))


def _plain_day(folder: Path, name: str, day: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "recsys_nas.jobs.search_day", f"runs/{name}", "--day", str(day)]
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.monotonic() - began
    record = json.loads((folder / f"runs/{name}/days/day={day:02d}/alphas.json").read_text())
    return seconds, record["train_seconds"]


def overhead(folder: Path, repeats: int, at_once: int) -> dict[str, Any]:
    """What launching and aggregation add to a day, medians over repeats of runs of OVERHEAD_DAYS days, so many of them at once."""
    runs, plains = [], []
    for repeat in range(repeats):
        runs.append(run_controller(folder, f"launched-{repeat}", OVERHEAD_DAYS, at_once))
        plains.append([wall - train for wall, train in run_plain(folder, f"plain-{repeat}", at_once)])
        print(f"{repeat + 1}/{repeats} {runs[-1]} {plains[-1]}", file=sys.stderr, flush=True)
    rounds = OVERHEAD_DAYS / at_once
    beyond = [(run.wall - run.training(at_once)) / rounds for run in runs]
    added = [seconds - mean(plain) for seconds, plain in zip(beyond, plains, strict=True)]
    parts = {part: median(day.parts[part] for run in runs for day in run.days) for part in PARTS}
    return {
        "at_once": at_once,
        "train_seconds_of_a_day": round(median(day.train for run in runs for day in run.days), 1),
        "overhead_seconds": round(median(added), 2),
        "overhead_seconds_by_repeat": [round(seconds, 2) for seconds in added],
        "overhead_share": round(median(added) / DAY_SECONDS, 4),
        "start_share": round(median(beyond) / DAY_SECONDS, 4),
        "plain_seconds_beyond_training": round(median(mean(plain) for plain in plains), 2),
        "seconds_of_a_day": {part: round(seconds, 2) for part, seconds in parts.items()},
        "seconds_of_a_run": {
            "before_first_day": round(median(run.before for run in runs), 2),
            "aggregation_and_end": round(median(run.after for run in runs), 2),
        },
        "what_parts_are": PARTS,
    }


def foretold(folder: Path, rows: int) -> list[dict[str, Any]]:
    """Runs of other sizes by the model and by the clock; the model knows only a run with a day a worker."""
    found = []
    for workers, sizes in ((1, (3,)), (2, (3, 6))):
        known = run_controller(folder, f"known-{workers}", workers, workers)
        print(f"known: {known}", file=sys.stderr, flush=True)
        for days in sizes:
            model = _model(known, days, workers, rows)
            seconds = simulate(model, random.Random(0)).wall_seconds
            wall = run_controller(folder, f"foretold-{workers}-{days}", days, workers).wall
            found.append(
                {
                    "days": days,
                    "max_parallel": workers,
                    "foretold_seconds": round(seconds, 1),
                    "measured_seconds": round(wall, 1),
                    "off_by": round(seconds / wall - 1, 3),
                    "model": asdict(model),
                }
            )
            print(found[-1], file=sys.stderr, flush=True)
    return found


def _model(known: RunTimes, days: int, workers: int, rows: int) -> Campaign:
    startup = median(sum(day.parts.values()) for day in known.days)
    rate = rows / median(day.train for day in known.days)
    return Campaign(days, workers, rows, rate, 1, startup, 0.0, 0.0, 1, 600.0, 2.0, known.before + known.after)


def main(arguments: Sequence[str] | None = None) -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rows-per-day", type=int, default=60_000)
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--at-once", type=int, choices=(1, OVERHEAD_DAYS), default=1, help="days at once while the overhead is measured")
    ask.add_argument("--json", type=Path, help="write the figures here too")
    ask.add_argument("--only", choices=("overhead", "simulate"), help="measure only this")
    options = ask.parse_args(arguments)
    figures: dict[str, Any] = {"machine": machine(("torch", "torchrec", "torchx")), "rows_per_day": options.rows_per_day}
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        _make_data(folder, OVERHEAD_DAYS if options.only == "overhead" else FORETOLD_DAYS, options.rows_per_day)
        if options.only != "simulate":
            figures |= overhead(folder, options.repeats, options.at_once)
        if options.only != "overhead":
            figures["simulate"] = foretold(folder, options.rows_per_day)
    print(json.dumps(figures, indent=2))
    if options.json:
        write_json(options.json, figures)
    return 0


def _make_data(folder: Path, days: int, rows: int) -> None:
    """Shards of so many days and one to test on, and the config of a search."""
    synth = ["synth", "--out", f"{folder}/raw", "--days", str(days + 1), "--rows-per-day", str(rows), "--seed", "0"]
    if data_prep(synth) or data_prep(["run", "--input", f"{folder}/raw/day_*", "--schema", "criteo", "--out", f"{folder}/shards"]):
        sys.exit("error: no data")
    (folder / "small.toml").write_text(CONFIG.format(test_day=days))


if __name__ == "__main__":
    sys.exit(main())
