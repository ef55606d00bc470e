"""What a search over many days costs, and where its speed-up over one plain sequential pass comes from. Measured, one core.

    python benchmarks/search_cost.py --work /tmp/cost --json OUT [--days 24] [--rows 100000] [--sample 4] [--schedule-steps 800]

A world with products of pairs. The plain pass trains the gated supernet over all days in order, removes nothing and stops nowhere. The
day-wise search gives each day a job of its own. All jobs run here one after the other, on one thread, so that a job's processor seconds
are its clock on a machine of its own, whatever else this one does. The clock with unlimited workers is then the slowest job, its
start included, and the aggregation. `sample` days are searched again without removal of decided gates, without early stop, and without
both: the factors. Both found networks are retrained on the same days under three seeds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

# Before the folder of this file, where data_prep is another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.measuring import machine
from benchmarks.small_searches import Logs, open_run, prepare, read
from data_prep.atomic import write_json
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.jobs.retrain import retrain
from recsys_nas.jobs.search_day import search_day, search_in_sequence
from recsys_nas.search.aggregate import SEQUENTIAL, aggregate_run

WORLD = "second_order"
SEEDS = (0, 1, 2)
TRAIN_DAYS = 2
PLAIN = {"removal_bound": 0.0, "settle_share": 0.0}
VARIANTS = {"plain": PLAIN, "removal": {"settle_share": 0.0}, "early_stop": {"removal_bound": 0.0}}
FIGURES = ("rows", "cpu_seconds")


def opened(logs: Logs, name: str, search: dict[str, float], days: int, folder: Path) -> Run:
    sections: dict[str, dict[str, Any]] = {
        "search": search,
        "data": {"train_days": f"{days - TRAIN_DAYS}-{days - 1}"},
        "retrain": {"seeds": list(SEEDS)},
    }
    return open_run(folder / "runs" / name, logs, sections, 0, f"0-{days - 1}")


def searched(run: Run, days: Sequence[int], ranks: Ranks) -> list[dict[str, float]]:
    """Rows and processor seconds of the job of each day."""
    told = []
    for day in days:
        search_day(run, day, ranks)
        record = read(run.folder / "days" / f"day={day:02d}" / "alphas.json")
        told.append({name: record[name] for name in FIGURES})
    return told


def start_seconds(run: Run) -> float:
    """What a job takes beside the search: a day that is done already, in a process of its own; the middle of three."""
    command = [sys.executable, "-m", "recsys_nas.jobs.search_day", str(run.folder), "--day", "0"]
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.monotonic() - began)
    return median(seconds)


def aucs(run: Run, ranks: Ranks) -> list[float]:
    told = []
    for seed in SEEDS:
        retrain(run, "found", seed, ranks)
        told.append(read(run.folder / "retrain" / "found" / f"seed={seed}" / "result.json")["auc"])
    return told


def measure(folder: Path, days: int, rows: int, sample: int, schedule: dict[str, float], ranks: Ranks) -> dict[str, Any]:
    logs = prepare(WORLD, 0, days + 1, folder, rows)
    sequential = opened(logs, "sequential", PLAIN | schedule, days, folder)
    search_in_sequence(sequential, ranks)
    one_pass = read(sequential.folder / SEQUENTIAL / "alphas.json")
    write_json(sequential.folder / "architecture.json", read(sequential.folder / SEQUENTIAL / "architecture.json"))
    by_day = opened(logs, "by_day", schedule, days, folder)
    jobs = searched(by_day, range(days), ranks)
    began = time.monotonic()
    aggregate_run(by_day.folder)
    aggregation = time.monotonic() - began
    few = range(0, days, max(1, days // sample))
    variants = {name: searched(opened(logs, name, search | schedule, days, folder), few, ranks) for name, search in VARIANTS.items()}
    whole = [jobs[day] for day in few]
    start = start_seconds(by_day)
    slowest = max(job["cpu_seconds"] for job in jobs)
    clock = start + slowest + aggregation
    in_sequence = start + one_pass["cpu_seconds"]
    cpu = {name: fmean(job["cpu_seconds"] for job in told) for name, told in {**variants, "removal_and_early_stop": whole}.items()}
    return {
        "days": days,
        "rows_per_day": rows,
        "schedule_steps": schedule["schedule_steps"],
        "start_seconds": start,
        "aggregation_seconds": aggregation,
        "sequential": {name: one_pass[name] for name in FIGURES} | {"clock_seconds": in_sequence},
        "by_day": {
            "rows": sum(job["rows"] for job in jobs),
            "cpu_seconds": sum(job["cpu_seconds"] for job in jobs),
            "seconds_one_after_the_other": sum(job["cpu_seconds"] + start for job in jobs) + aggregation,
            "clock_seconds": clock,
            "slowest_job_seconds": slowest,
            "middle_job_seconds": median(job["cpu_seconds"] for job in jobs),
        },
        "speed_up": in_sequence / clock,
        "speed_up_without_start": one_pass["cpu_seconds"] / slowest,
        "factors": {"parallel_days": one_pass["cpu_seconds"] / cpu["plain"]} | {name: cpu["plain"] / cpu[name] for name in list(cpu)[1:]},
        "sample_days": list(few),
        "sample_rows": {name: fmean(job["rows"] for job in told) for name, told in {**variants, "both": whole}.items()},
        "auc": {"sequential": aucs(sequential, ranks), "by_day": aucs(by_day, ranks), "bayes": read(logs.truth)["bayes"]["auc"]},
        "architectures": {name: read(run.folder / "architecture.json") for name, run in (("sequential", sequential), ("by_day", by_day))},
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--work", type=Path, required=True, help="where logs and run folders are kept; what is searched is not searched again")
    ask.add_argument("--json", type=Path, required=True, help="where to write the figures")
    ask.add_argument("--days", type=int, default=24)
    ask.add_argument("--rows", type=int, default=100_000, help="of a day")
    ask.add_argument("--sample", type=int, default=4, help="days searched again for the factors")
    ask.add_argument("--schedule-steps", type=int, default=0, help="search.schedule_steps, of the plain pass too")
    arguments = ask.parse_args()
    if arguments.days < TRAIN_DAYS:
        ask.error(f"--days {arguments.days}: must be at least {TRAIN_DAYS}, on which the found networks are retrained")
    torch.set_num_threads(1)
    about = machine(["torch", "torchrec"])
    with process_group() as ranks:
        figures = measure(
            arguments.work, arguments.days, arguments.rows, arguments.sample, {"schedule_steps": arguments.schedule_steps}, ranks
        )
    write_json(arguments.json, {"machine": about} | figures)
    print({name: figures[name] for name in ("speed_up", "factors", "auc")})


if __name__ == "__main__":
    main()
