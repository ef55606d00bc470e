"""Quality of what is found against the known models: tuned alike, trained alike, over seeds, with chance beside it.

    python benchmarks/quality.py --data frappe --source FOLDER --work FOLDER --json OUT --stage baseline

Stages, each one resumable (a training that has its line in OUT is not done again; a killed one goes on from its checkpoint):

    baseline   the models of the config under BARS's own rule, so that the harness is believed
    tune       each of them, and with --models the found network, on one small grid of learning rates and L2 penalties of the tables, never
               judged on the test days
    final      each at its best point, over seeds
    search     the search of the config's days, and one architecture of all of them
    refine     modules of the found network added and dropped, judged by the validation days, or the last of the searched ones; from then
               on `refined` is a model too
    controls   the found network, those of a single day and of one pass over all of them in order, the full supernet, and random ones at
               the found network's FLOPs; with `--models refined` random ones at that network's
    ranking    Kendall's tau between the supernet's judgement of those networks and what they reach alone, likewise
    table      what the records say

`--data` is frappe (a folder with train, valid and test CSVs of Frappe_x1), criteo80k (a .tsv.gz, cut into ten pseudo-days) or demo (a
folder for synthetic logs). One core a process; several processes may share OUT where their models or seeds differ.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import machine
from benchmarks.quality_data import DATA, Point
from benchmarks.quality_ranking import ranking
from benchmarks.quality_records import Records, Task, percentile, table
from data_prep.atomic import write_json, write_text
from recsys_nas.architecture_files import ARCHITECTURE, CONTROL, REFINED_ARCHITECTURE
from recsys_nas.config import load_config, parse_days, to_toml
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.jobs.networks import architecture_of
from recsys_nas.jobs.refine import refine, refine_text
from recsys_nas.jobs.retrain import PREDICTIONS, retrain
from recsys_nas.jobs.search_day import search_day, search_in_sequence
from recsys_nas.judged_days import scored_days
from recsys_nas.search.aggregate import SEQUENTIAL, aggregate_run
from recsys_nas.training.metrics import paired_difference
from recsys_nas.zoo.catalogue import FOUND, REFINED
from recsys_nas.zoo.catalogue import FULL_SUPERNET as FULL

STAGES = ("baseline", "tune", "final", "search", "refine", "controls", "ranking", "table")
ONE_DAY, SINGLE_LAYER = "one_day", "mlp_300"
AROUND = {FOUND: "late", REFINED: "refined"}
"""The recipe under whose name random networks at the FLOPs of each are trained."""
PACKAGES = ("torch", "torchrec", "fbgemm-gpu-cpu", "numpy")


@dataclass
class Bench:
    """What all stages share. `deadline`: no training is begun after it, in seconds of the monotonic clock."""

    data: str
    work: Path
    shards: Path
    records: Records
    ranks: Ranks
    overrides: tuple[str, ...]
    deadline: float

    def run(self, recipe: str, point: Sequence[str] = (), control: str = "", days: str = "") -> Run:
        """The run folder of a recipe and a point of the grid, and of a control by name; `days`: one searched on these days alone."""
        name = "-".join([self.data, recipe, *(p.replace("=", "_") for p in point), *([control] if control else [])])
        config = Path(__file__).parent.parent / "configs" / DATA[self.data].config
        fixed = [f'name="{name}"', f'output="{self.work}"', f'data.shards="{self.shards}"']
        values = [*fixed, *DATA[self.data].recipes.get(recipe, ()), *self.overrides, *point]
        made = load_config(config, [*values, *([f'data.search_days="{days}"'] if days else [])])
        kept = made.run_folder / "config.toml"
        if kept.exists() and load_config(kept) != made:
            sys.exit(f"error: {kept} is of another config, and so is what was searched there; name another --work")
        made.run_folder.mkdir(parents=True, exist_ok=True)
        write_text(kept, to_toml(made))
        return Run.open(made.run_folder)

    def train(self, tasks: Iterator[Task], run: Run | None = None, named: str = "") -> None:
        """Do what has no record yet; `named`: the model's name in its run folder, where it is another."""
        for task in tasks:
            if task in self.records:
                continue
            if time.monotonic() > self.deadline:
                sys.exit("time is up; the same command goes on")
            here = run or self.to_train(task)
            model = named or task.model
            retrain(here, model, task.seed, self.ranks)
            result = json.loads((here.folder / "retrain" / model / f"seed={task.seed}" / "result.json").read_text(encoding="utf-8"))
            record = self.records.add(task, result, machine=_machine())
            print(f"{task.recipe} {task.model} seed {task.seed} {' '.join(task.point)}: {record['auc']:.5f}", flush=True)

    def to_train(self, task: Task) -> Run:
        """The run folder of the task; what was found by the search, and made of it, is there to train, too."""
        run = self.run(task.recipe, task.point)
        if task.model == REFINED or task.recipe == AROUND[REFINED]:
            self._copy(REFINED_ARCHITECTURE, run, REFINED_ARCHITECTURE if task.model == REFINED else ARCHITECTURE)
        elif task.model == FOUND or CONTROL.fullmatch(task.model):
            self._copy(ARCHITECTURE, run, ARCHITECTURE)
        return run

    def _copy(self, source: str, run: Run, target: str) -> None:
        """From the run that was searched."""
        path = self.run("late").folder / source
        if not path.exists():
            sys.exit(f"error: there is no {path}; run --stage {'refine' if source == REFINED_ARCHITECTURE else 'search'} first")
        write_text(run.folder / target, path.read_text(encoding="utf-8"))

    def tasks(self, recipe: str, models: Sequence[str], seeds: Sequence[int], points: Any = None) -> Iterator[Task]:
        for seed, model in product(seeds, models):
            for point in points(model) if points else [()]:
                yield Task(self.data, recipe, model, seed, tuple(point))


def search(bench: Bench) -> Run:
    """Every day of the config, and the architecture of all of them."""
    run = bench.run("late")
    for day in _days(run):
        search_day(run, day, bench.ranks)
    aggregate_run(run.folder)
    return run


def refine_found(bench: Bench, seeds: Sequence[int], rounds: int, tolerance: float) -> None:
    run, judged_days = search(bench), DATA[bench.data].judged_days
    print(refine_text(refine(run, run.config.search.target_flops, judged_days, seeds, rounds, bench.ranks, tolerance)))


def one_day(bench: Bench, day: int, point: Point) -> Run:
    """What the first day alone would have given."""
    run = bench.run("late", point, ONE_DAY, days=str(day))
    source, target = bench.run("late").folder / "days" / f"day={day:02d}" / "alphas.json", run.folder / "days" / f"day={day:02d}"
    target.mkdir(parents=True, exist_ok=True)
    write_text(target / "alphas.json", source.read_text(encoding="utf-8"))
    aggregate_run(run.folder)
    return run


def in_sequence(bench: Bench, point: Point) -> Run:
    """What one search over all days in order gives."""
    searched, run = bench.run("late"), bench.run("late", point, SEQUENTIAL)
    search_in_sequence(searched, bench.ranks)
    write_text(run.folder / ARCHITECTURE, (searched.folder / SEQUENTIAL / ARCHITECTURE).read_text(encoding="utf-8"))
    return run


def controls(bench: Bench, around: str, seeds: Sequence[int], count: int) -> None:
    """All at the point that was best for the network `around` which they are drawn."""
    run = search(bench)

    best = bench.records.best_point(bench.data, "tune", around)

    def point(_: str) -> list[Point]:
        return [best]

    bench.train(bench.tasks("late", [around], seeds, point))
    bench.train(bench.tasks("late", [FULL], seeds[:1], point))
    bench.train(bench.tasks(AROUND[around], [f"random-{number:02d}" for number in range(count)], seeds[:1], point))
    if around == FOUND and len(_days(run)) > 1:
        bench.train(bench.tasks("late", [ONE_DAY], seeds, point), one_day(bench, _days(run)[0], best), named=FOUND)
        if tasks := [task for task in bench.tasks("late", [SEQUENTIAL], seeds, point) if task not in bench.records]:
            bench.train(iter(tasks), in_sequence(bench, best), named=FOUND)


def rank(bench: Bench, around: str) -> None:
    """Over the random controls, the network `around` which they are drawn and the full supernet, all of the first seed."""
    named = [*bench.records.of(bench.data, "late", around), *bench.records.of(bench.data, "late", FULL)]
    drawn = [record for record in bench.records.of(bench.data, AROUND[around]) if CONTROL.fullmatch(record["model"])]
    alone = {record["model"]: record["auc"] for record in (*named, *drawn) if record["seed"] == 0}
    there = bench.to_train(Task(bench.data, AROUND[around], "random-00", 0, bench.records.best_point(bench.data, "tune", around)))
    # There the network itself goes by the name of a found one.
    networks = {name: architecture_of(there, FOUND if name == around else name) for name in alone}
    judged = ranking(bench.run("late"), networks, alone, bench.ranks)
    suffix = ".ranking.json" if around == FOUND else f".{around}.ranking.json"
    write_json(bench.records.path.with_suffix(suffix), judged | _machine())
    low, high = judged["kendall_tau_ci95"]
    print(f"Kendall's tau over {judged['networks']} networks: {judged['kendall_tau']:+.3f} (95 %: {low:+.3f} to {high:+.3f})")


def show(bench: Bench) -> None:
    for recipe in ("bars", "late"):
        if kept := bench.records.of(bench.data, recipe):
            plain = [record for record in kept if not record["model"].startswith("random-")]
            print(f"\n{bench.data}, {recipe}\n{table(plain, FOUND if recipe == 'late' else 'mlp')}")
    for model, recipe in AROUND.items():
        show_percentile(bench, model, [r["auc"] for r in bench.records.of(bench.data, recipe) if CONTROL.fullmatch(r["model"])])
    if rows := over_rows(bench, FOUND, SINGLE_LAYER):
        print(f"{FOUND} minus {SINGLE_LAYER}, {len(rows)} seeds, half of the 95 % interval over rows (DeLong): {fmean(rows):.5f}")


def show_percentile(bench: Bench, model: str, random: Sequence[float]) -> None:
    """By the first seed, which is that of the random networks, and by the mean of all seeds."""
    if random and (aucs := {record["seed"]: record["auc"] for record in bench.records.of(bench.data, "late", model)}):
        shares = f"{percentile(aucs.get(0, math.nan), random):.0f} % of them, its mean of {len(aucs)} seeds ahead of"
        print(f"\n{len(random)} random networks at the FLOPs of {model}: best {max(random):.5f}, median {median(random):.5f};")
        print(f"{model}, seed 0, is ahead of {shares} {percentile(fmean(aucs.values()), random):.0f} %")


def over_rows(bench: Bench, model: str, reference: str) -> list[float]:
    """For each seed that both have, the half-width of the interval of their AUC difference over the test rows."""
    run, widths = bench.run("late"), []
    days = scored_days(run.config)
    labels = [batch.labels[: batch.valid] for day in days for batch in run.reader([day], bench.ranks, 4096, shuffle_seed=None)]
    theirs = {record["seed"]: record for record in bench.records.of(bench.data, "late", reference)}
    for record in bench.records.of(bench.data, "late", model):
        pair = [_predictions(bench, one) for one in (record, theirs.get(record["seed"])) if one]
        if len(pair) == 2 and all(file.exists() for file in pair):
            first, second = (torch.from_numpy(np.load(file)) for file in pair)
            widths.append(paired_difference(first, second, torch.cat(labels)).auc_row_ci95 or 0.0)
    return widths


def _predictions(bench: Bench, record: dict[str, Any]) -> Path:
    return bench.run(record["recipe"], record["point"]).folder / "retrain" / record["model"] / f"seed={record['seed']}" / PREDICTIONS


def _days(run: Run) -> tuple[int, ...]:
    return parse_days(run.config.data.search_days, "data.search_days")


def _machine() -> dict[str, Any]:
    return {name: value for name, value in machine(PACKAGES).items() if name in ("date", "commit", "cpu", "cores", "versions")}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", choices=tuple(DATA), required=True)
    ask.add_argument("--source", type=Path, required=True, help="where the logs lie")
    ask.add_argument("--work", type=Path, required=True, help="folder for shards and run folders")
    ask.add_argument("--json", type=Path, required=True, help="the records, one a line; kept and added to")
    ask.add_argument("--stage", choices=STAGES, required=True)
    ask.add_argument("--models", nargs="+", help="default: those of the config, less full_supernet")
    ask.add_argument("--points", type=int, nargs="+", help="of the grid, by their numbers from 0 (default: all)")
    ask.add_argument("--seeds", type=int, nargs="+", default=[0])
    ask.add_argument("--controls", type=int, default=20, help="random networks (default 20)")
    ask.add_argument("--tolerance", type=float, default=0.0, help="AUC that refine may give for fewer FLOPs (default 0)")
    ask.add_argument("--rounds", type=int, default=8, help="changes of one module each that refine may make (default 8)")
    ask.add_argument("--minutes", type=float, default=float("inf"), help="begin no training after so long")
    ask.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a value of the config")
    arguments = ask.parse_args()
    torch.set_num_threads(1)
    deadline = time.monotonic() + 60 * arguments.minutes
    shards = DATA[arguments.data].prepare(arguments.source, arguments.work)
    with process_group() as ranks:
        bench = Bench(arguments.data, arguments.work, shards, Records(arguments.json), ranks, tuple(arguments.set), deadline)
        models = arguments.models or [name for name in bench.run("late").config.retrain.models if name != FULL]
        run_stage(bench, arguments.stage, models, arguments)


def run_stage(bench: Bench, stage: str, models: Sequence[str], arguments: argparse.Namespace) -> None:
    around = REFINED if REFINED in models else FOUND
    if stage == "baseline":
        bench.train(bench.tasks("bars", models, arguments.seeds))
    elif stage == "tune":
        points = points_of(DATA[bench.data].grid, arguments.points)
        bench.train(bench.tasks("tune", models, arguments.seeds[:1], lambda _: points))
    elif stage == "final":
        bench.train(bench.tasks("late", models, arguments.seeds, lambda model: [bench.records.best_point(bench.data, "tune", model)]))
    elif stage == "search":
        print((search(bench).folder / "architecture.json").read_text(encoding="utf-8"))
    elif stage == "refine":
        refine_found(bench, arguments.seeds, arguments.rounds, arguments.tolerance)
    elif stage == "controls":
        controls(bench, around, arguments.seeds, arguments.controls)
    elif stage == "ranking":
        rank(bench, around)
    show(bench)


def points_of(grid: Sequence[Point], numbers: Sequence[int] | None) -> list[Point]:
    if wrong := [number for number in numbers or () if not 0 <= number < len(grid)]:
        sys.exit(f"error: --points {wrong[0]}: the grid has points 0 to {len(grid) - 1}")
    return [grid[number] for number in numbers or range(len(grid))]


if __name__ == "__main__":
    main()
