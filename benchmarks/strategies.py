"""The strategies against each other at equal rows of training, and each against chance at equal cost.

    python benchmarks/strategies.py --data criteo80k --source FILE --work FOLDER --json OUT --seeds 0 1 2

Stages, by default all but `again` in turn, each one resumable (what has its line in OUT is not done again):

    search     every strategy and seed: a search of one day under the same rows and dense FLOPs, its network trained from scratch
               and judged on the test days (`recsys-nas compare-strategies`)
    controls   random networks trained in the same way: 32 drawn uniformly, and for each network that was found as many as it takes
               for 20 within 10 % of its FLOPs; one serves all that it is near to
    again      every network that was found trained alone once more, with the seed of the random ones: for settings that have changed since
    table      what the records say, in markdown

`--data` is frappe (a folder with train, valid and test CSVs of Frappe_x1), criteo80k (a .tsv.gz) or demo (a folder for synthetic
logs). One core a process. Several may share OUT: in `search` where their strategies or seeds differ, in `controls` with --part.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import get_args

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.quality_records import percentile
from benchmarks.strategy_data import DATA, Record, Records, config_of, open_run, train_alone, uniform_networks
from recsys_nas.config import Config
from recsys_nas.cost import dense_flops
from recsys_nas.jobs.assembly import read_json
from recsys_nas.jobs.compare_strategies import compare_strategies
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.report.intervals import half_width95
from recsys_nas.report.records import FOUND
from recsys_nas.search.controls import TOLERANCE, random_controls
from recsys_nas.search.trial_settings import StrategyName
from recsys_nas.space import Architecture, SearchSpace

STAGES = ("search", "controls", "again", "table")
UNIFORM = 32
CHANCE = "random"


@dataclass
class Bench:
    """`deadline`: nothing is begun after it, in seconds of the monotonic clock."""

    data: str
    config: Config
    records: Records
    ranks: Ranks
    deadline: float

    def check_time(self) -> None:
        if time.monotonic() > self.deadline:
            sys.exit("time is up; the same command goes on")

    @property
    def found(self) -> list[Record]:
        """By seed, then strategy, so that what one more seed asks for comes after what was asked for before."""
        return sorted(self.records.of(data=self.data, kind="found"), key=lambda record: (record["seed"], record["strategy"]))

    @property
    def cloud(self) -> list[Record]:
        return self.records.of(data=self.data, kind="cloud")


def search(bench: Bench, strategies: Sequence[StrategyName], seeds: Sequence[int]) -> None:
    for seed in seeds:
        for strategy in strategies:
            if bench.records.of(data=bench.data, kind="found", strategy=strategy, seed=seed):
                continue
            bench.check_time()
            (outcome,) = compare_strategies(bench.config, (strategy,), (seed,), bench.ranks)
            folder = bench.config.run_folder.with_name(f"{bench.config.name}-{strategy}-seed={seed}")
            result = read_json(folder / "retrain" / FOUND / f"seed={seed}" / "result.json")
            architecture = Architecture.from_json(read_json(folder / "architecture.json"))
            summary = {} if strategy == "dnas" else read_json(folder / "days" / "day=00" / "search.json")["summary"]
            bench.records.add(
                {"data": bench.data, "kind": "found"}
                | asdict(outcome)
                | _judged(result)
                | {"key": architecture.key(), "architecture": architecture.to_json(), "summary": summary}
            )
            print(f"{bench.data} {strategy} seed {seed}: AUC {outcome.auc:.5f}, {outcome.dense_flops:,.0f} FLOPs", flush=True)


def _judged(result: Record) -> Record:
    names = ("auc", "auc_row_ci95", "logloss", "ne", "dense_flops", "dense_params", "test_rows", "train_rows", "train_seconds")
    return {name: result[name] for name in names}


def controls(bench: Bench, count: int, part: tuple[int, int]) -> None:
    """`part` (k, n): every n-th of the networks, from the k-th."""
    for architecture in planned(bench, count)[part[0] :: part[1]]:
        bench.records.read()
        if bench.records.of(data=bench.data, kind="cloud", key=architecture.key(), seed=0):
            continue
        bench.check_time()
        result = train_alone(bench.config, architecture, 0, bench.ranks)
        line = {"data": bench.data, "kind": "cloud", "key": architecture.key(), "seed": 0, "architecture": architecture.to_json()}
        bench.records.add(line | _judged(result))
        print(f"{bench.data} {architecture.key()}: AUC {result['auc']:.5f}, {result['dense_flops']:,} FLOPs", flush=True)


def again(bench: Bench, part: tuple[int, int]) -> None:
    """`part` as for the controls."""
    networks = {record["key"]: Architecture.from_json(record["architecture"]) for record in bench.found}
    for key in sorted(networks)[part[0] :: part[1]]:
        bench.records.read()
        if not bench.records.of(data=bench.data, kind="again", key=key):
            bench.check_time()
            result = train_alone(bench.config, networks[key], 0, bench.ranks)
            bench.records.add({"data": bench.data, "kind": "again", "key": key, "seed": 0} | _judged(result))


def planned(bench: Bench, count: int) -> list[Architecture]:
    """Random networks to train; follows from what was found alone."""
    space = open_run(bench.config).space()
    plan = {architecture.key(): architecture for architecture in uniform_networks(space, UNIFORM)}
    for record in bench.found:
        found = Architecture.from_json(record["architecture"])
        near = [key for key, other in plan.items() if key != record["key"] and _is_near(dense_flops(other), record["dense_flops"])]
        for control in _controls(space, found, count):
            if len(near) < count and control.key() not in near:
                plan[control.key()] = control
                near.append(control.key())
    return list(plan.values())


def _controls(space: SearchSpace, found: Architecture, count: int) -> list[Architecture]:
    """`count` networks at its FLOPs, or half as many; none where there are still fewer, as at the small end of a space."""
    for number in (count, count // 2):
        with suppress(ValueError):
            return random_controls(space, found, number, seed=0)
    return []


def _is_near(flops: float, target: float) -> bool:
    return abs(flops - target) <= TOLERANCE * target


def trained_again(bench: Bench) -> list[Record]:
    """What was found, by what came of it when it was trained again; those that were."""
    by_key = {record["key"]: record for record in bench.records.of(data=bench.data, kind="again")}
    return [record | {n: by_key[record["key"]][n] for n in ("auc", "logloss")} for record in bench.found if record["key"] in by_key]


def table(bench: Bench, strategies: Sequence[str], found: Sequence[Record]) -> str:
    """A row a strategy, the best mean AUC first."""
    lines = [
        "| strategy | seeds | test AUC | minus random | log loss | dense FLOPs | rows | search, CPU s | ahead of random networks |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    runs = {name: {r["seed"]: r for r in found if r["strategy"] == name} for name in strategies}
    for name, by_seed in sorted(((n, r) for n, r in runs.items() if r), key=lambda item: -_mean(item[1].values(), "auc")):
        records = list(by_seed.values())
        pairs = [by_seed[seed]["auc"] - runs[CHANCE][seed]["auc"] for seed in by_seed if seed in runs.get(CHANCE, {})]
        places = [place for record in records if (place := _place(bench, record)) is not None]
        cells = [
            f"`{name}`",
            str(len(records)),
            _spread([r["auc"] for r in records], ".5f"),
            "" if name == CHANCE or not pairs else _spread(pairs, "+.5f"),
            f"{_mean(records, 'logloss'):.5f}",
            f"{_mean(records, 'dense_flops'):,.0f}",
            f"{_mean(records, 'search_rows'):,.0f}",
            f"{_mean(records, 'search_cpu_seconds'):.0f}",
            _spread(places, ".0f") + " %" if places else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _place(bench: Bench, record: Record) -> float | None:
    """Share of the random networks of about its FLOPs that the network is ahead of, in per cent; None for fewer than ten of them."""
    others = [r["auc"] for r in bench.cloud if r["key"] != record["key"] and _is_near(r["dense_flops"], record["dense_flops"])]
    return percentile(record["auc"], others) if len(others) >= 10 else None


def _spread(values: Sequence[float], form: str) -> str:
    width = half_width95(values)
    return f"{fmean(values):{form}}" + ("" if width is None else f" ± {width:{form.lstrip('+')}}")


def _mean(records: Iterable[Record], field: str) -> float:
    return fmean(record[field] for record in records)


def options(description: str | None) -> argparse.ArgumentParser:
    ask = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--source", type=Path, required=True, help="where the logs lie")
    ask.add_argument("--work", type=Path, required=True, help="folder for shards and run folders")
    ask.add_argument("--json", type=Path, required=True, help="the records, one a line; kept and added to")
    ask.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    ask.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so long")
    ask.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a value of the config")
    return ask


def main() -> None:
    ask = options(__doc__)
    ask.add_argument("--data", choices=tuple(DATA), required=True)
    ask.add_argument("--stage", choices=STAGES, nargs="+", default=[stage for stage in STAGES if stage != "again"])
    ask.add_argument("--strategies", nargs="+", choices=get_args(StrategyName), default=get_args(StrategyName))
    ask.add_argument("--controls", type=int, default=20, help="random networks at the FLOPs of each that was found (default 20)")
    ask.add_argument("--part", default="0/1", metavar="K/N", help="train the K-th of every N random networks, from 0")
    arguments = ask.parse_args()
    torch.set_num_threads(1)
    config = config_of(arguments.data, arguments.source, arguments.work, arguments.set)
    number, parts = map(int, arguments.part.split("/"))
    with process_group() as ranks:
        bench = Bench(arguments.data, config, Records(arguments.json), ranks, time.monotonic() + 60 * arguments.minutes)
        if "search" in arguments.stage:
            search(bench, arguments.strategies, arguments.seeds)
        if "controls" in arguments.stage:
            controls(bench, arguments.controls, (number, parts))
        if "again" in arguments.stage:
            again(bench, (number, parts))
    if "table" in arguments.stage:
        print(table(bench, arguments.strategies, bench.found))
        if more := trained_again(bench):
            print(f"\nTrained again, seed 0\n\n{table(bench, arguments.strategies, more)}")


if __name__ == "__main__":
    main()
