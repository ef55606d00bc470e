"""How well cheap judgements rank networks: Kendall's tau between each and the test AUC of the same networks trained alone.

    python benchmarks/strategy_ranking.py --data criteo80k --source FILE --work FOLDER --json OUT --seeds 0 1 2

Stages, each one resumable:

    alone    32 networks of each space, drawn uniformly and trained from scratch; with --alone-seeds 0 1, how well trainings agree
             with themselves: no judgement can be expected to rank better
    judge    the same networks, judged in every way and for every seed of the supernet
    table    what the records say, in markdown

Spaces: `gates` is that of benchmarks/strategies.py, whose records in OUT are used; `nasrec` a small one of NASRec's kind; `unbalanced` the
same with a dot product over all tokens in place of the balanced one, which first projects them to few.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.strategies import options
from benchmarks.strategy_data import Records, config_of, open_run, train_alone, uniform_networks
from recsys_nas.config import Config
from recsys_nas.cost import dense_flops
from recsys_nas.jobs.day_bench import DayBench
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.search.agreement import kendall_tau
from recsys_nas.search.choices import Choices
from recsys_nas.search.path_sampling import LearntPaths, SampledPaths
from recsys_nas.search.predictor import held_out_tau
from recsys_nas.search.proxies import score_of
from recsys_nas.search.strategy import Fidelity, PathSampler, Proposal, SupernetTraining
from recsys_nas.search.trial_settings import Proxy
from recsys_nas.search.zero_cost import COLD, WARM
from recsys_nas.space import Architecture, SearchSpace

STAGES = ("alone", "judge", "table")
NETWORKS = 32
NASREC = (
    'space.name="nasrec_small"',
    "space.num_blocks=3",
    "space.dense_widths=[16, 32, 64, 128]",
    "space.token_counts=[8, 16]",
    'space.normalisation="layer"',
)
SPACES = {"gates": (), "nasrec": NASREC, "unbalanced": (*NASREC, 'space.dense_modules=["linear", "dot_product"]')}
PROXIES: tuple[Proxy, ...] = ("params", "sigeo", "zico", "fisher_rao", "grad_norm", "synflow", "loss")
RESAMPLES = 2000
DIGITS = 8
Sampler = Callable[[SearchSpace, int], PathSampler]


def _single(full_share: float) -> Sampler:
    return lambda space, seed: SampledPaths(space, seed, full_share, single=True)


@dataclass(frozen=True)
class Judge:
    """A supernet of `space`, trained on `share` of the day's rows on paths by `sampler`, and what networks are judged by in it: its loss
    once their last layers are tuned (`shared`), the same without tuning (`untuned`), or proxies (`scored`)."""

    name: str
    space: str
    sampler: Sampler
    ways: tuple[str, ...]
    share: float = 1.0
    baseline: bool = False


JUDGES = (
    *(Judge(f"warm-up {share:.0%}", "gates", _single(1.0), ("scored",), share) for share in (0.0, 0.01, 0.1, 0.4)),
    Judge("one-shot", "gates", _single(0.1), ("shared", "untuned")),
    Judge("one-shot", "nasrec", _single(0.1), ("shared", "untuned")),
    Judge("paths drawn uniformly", "nasrec", lambda space, seed: SampledPaths(space, seed, 0.1, single=False), ("shared",)),
    Judge("no full-path warm-up", "nasrec", _single(0.0), ("shared",)),
    Judge("dot product unbalanced", "unbalanced", _single(0.1), ("shared",)),
    Judge("policy", "nasrec", lambda space, seed: LearntPaths(space, seed, 0.1), ("shared",)),
    Judge("policy, co-trained baseline", "nasrec", lambda space, seed: LearntPaths(space, seed, 0.1), ("shared",), baseline=True),
)


@dataclass
class Bench:
    """`config`: from settings to the data's config. `deadline`: nothing is begun after it, in seconds of the monotonic clock."""

    data: str
    config: Callable[[Sequence[str]], Config]
    records: Records
    ranks: Ranks
    deadline: float

    def of_space(self, name: str, seed: int = 0) -> Config:
        named = [f'name="{self.data}-{name}"', f"seed={seed}"] if SPACES[name] else [f"seed={seed}"]
        return self.config([*SPACES[name], *named])

    def networks(self, space: str) -> list[Architecture]:
        return uniform_networks(open_run(self.of_space(space)).space(), NETWORKS)

    def check_time(self) -> None:
        if time.monotonic() > self.deadline:
            sys.exit("time is up; the same command goes on")

    def alone(self, space: str, seed: int = 0) -> list[float]:
        """Test AUC of each of the networks; empty unless all are there."""
        kind = "cloud" if space == "gates" else f"alone {space}"
        known = {record["key"]: float(record["auc"]) for record in self.records.of(data=self.data, kind=kind, seed=seed)}
        keys = [network.key() for network in self.networks(space)]
        return [known[key] for key in keys] if all(key in known for key in keys) else []


def train(bench: Bench, spaces: Sequence[str], seeds: Sequence[int], part: tuple[int, int]) -> None:
    for seed in seeds:
        for space in spaces:
            kind = "cloud" if space == "gates" else f"alone {space}"
            for network in bench.networks(space)[part[0] :: part[1]]:
                bench.records.read()
                if bench.records.of(data=bench.data, kind=kind, key=network.key(), seed=seed):
                    continue
                bench.check_time()
                result = train_alone(bench.of_space(space), network, seed, bench.ranks)
                line = {"data": bench.data, "kind": kind, "key": network.key(), "seed": seed, "architecture": network.to_json()}
                figures = {name: result[name] for name in ("auc", "logloss", "dense_flops", "train_rows", "train_seconds")}
                bench.records.add(line | figures)
                print(f"{kind} {network.key()} seed {seed}: AUC {result['auc']:.5f}", flush=True)


def judge(bench: Bench, spaces: Sequence[str], seeds: Sequence[int]) -> None:
    for seed in seeds:
        for each in (one for one in JUDGES if one.space in spaces):
            wanted = {"data": bench.data, "kind": "judged", "space": each.space, "judge": each.name, "seed": seed}
            if bench.records.of(**wanted):
                continue
            bench.check_time()
            began = time.process_time()
            figures = _judge(bench, each, seed)
            bench.records.add(wanted | {"figures": figures, "cpu_seconds": time.process_time() - began})
            print(f"{each.space}: {each.name} seed {seed}, {time.process_time() - began:.0f} s of CPU", flush=True)


def _judge(bench: Bench, judge: Judge, seed: int) -> dict[str, list[dict[str, float]]]:
    """By way of judging, the figures of each network, in the order of `Bench.networks`."""
    run = open_run(bench.of_space(judge.space, seed)).searching()
    space, (day,) = run.space(), run.search_days
    training = SupernetTraining(
        int(judge.share * run.manifest.day(day).rows), judge.sampler(space, seed), space.full() if judge.baseline else None
    )
    folder = run.folder / f"judge-{judge.name.replace(' ', '_')}-seed={seed}"
    found = {}
    for way in judge.ways:
        tuning = run.config.trials.finetune_rows if way == "shared" else 0
        tuned = replace(run, config=replace(run.config, trials=replace(run.config.trials, finetune_rows=tuning)))
        here = DayBench(tuned, day, bench.ranks, folder)
        here.train_supernet(training)  # the second time from its last checkpoint
        fidelity: Fidelity = "scored" if way == "scored" else "shared"
        figures = [here.judge(Proposal(network, fidelity)) for network in bench.networks(judge.space)]
        found[way] = [{name: float(f"{value:.{DIGITS}g}") for name, value in each.items()} for each in figures]
    shutil.rmtree(folder)
    return found


def table(bench: Bench) -> str:
    lines = [
        "| space | judgement | seeds | Kendall's tau, mean and 95 % interval over networks | seed by seed |",
        "|---|---|---|---|---|",
    ]
    for space in SPACES:
        alone = bench.alone(space)
        if not alone:
            continue
        if again := bench.alone(space, seed=1):
            lines.append(rank_row(space, "trained alone again, another seed", [again], alone))
        lines.append(rank_row(space, "dense FLOPs", [[dense_flops(network) for network in bench.networks(space)]], alone))
        lines += [rank_row(space, name, scores, alone) for name, scores in _scores(bench, space).items()]
        lines.append(f"| {space} | ranking predictor, learnt from 4/5 of the same trainings | | {_predictor(bench, space, alone):+.2f} | |")
    return "\n".join(lines)


def _scores(bench: Bench, space: str) -> dict[str, list[list[float]]]:
    """By judgement, for each seed the scores of the networks, the higher the better."""
    found: dict[str, list[list[float]]] = {}
    for record in bench.records.of(data=bench.data, kind="judged", space=space):
        for way, figures in record["figures"].items():
            if way != "scored":
                name = record["judge"] + (", last layer not tuned" if way == "untuned" else "")
                found.setdefault(name, []).append([-each["loss"] for each in figures])
                continue
            weights = COLD if record["judge"] == "warm-up 0%" else WARM
            for proxy in PROXIES:
                if proxy == "params" and record["judge"] != "warm-up 0%":
                    continue
                where = "" if proxy == "params" else f", {record['judge']}"
                score = score_of(proxy, *weights)
                found.setdefault(f"{proxy}{where}", []).append([score(each) for each in figures])
    return found


def rank_row(space: str, name: str, scores: Sequence[Sequence[float]], alone: Sequence[float]) -> str:
    """The interval is that of 2,000 resamples of the networks, of the mean over seeds."""
    values, truth = np.array(scores), np.array(alone)
    generator = np.random.Generator(np.random.Philox(0))
    draws = generator.integers(len(truth), size=(RESAMPLES, len(truth)))
    taus = [np.nanmean([kendall_tau(row[draw], truth[draw]) for row in values]) for draw in draws]
    low, high = np.nanpercentile(taus, (2.5, 97.5))
    each = [kendall_tau(row, truth) for row in values]
    spread = f"{min(each):+.2f} to {max(each):+.2f}" if len(each) > 1 else ""
    return f"| {space} | {name} | {len(each)} | {fmean(each):+.2f} ({low:+.2f} to {high:+.2f}) | {spread} |"


def _predictor(bench: Bench, space: str, alone: Sequence[float]) -> float:
    networks = bench.networks(space)
    choices = Choices(open_run(bench.of_space(space)).space())
    inputs = np.array([choices.encode(network) for network in networks], np.float64)
    return held_out_tau(inputs, -np.array(alone), np.array([dense_flops(network) for network in networks], np.float64), seed=0)


def main() -> None:
    ask = options(__doc__)
    ask.add_argument("--data", choices=("criteo80k", "demo", "frappe"), required=True)
    ask.add_argument("--stage", choices=STAGES, nargs="+", default=STAGES)
    ask.add_argument("--spaces", choices=tuple(SPACES), nargs="+", default=tuple(SPACES))
    ask.add_argument("--alone-seeds", type=int, nargs="+", default=[0])
    ask.add_argument("--part", default="0/1", metavar="K/N", help="train the K-th of every N networks, from 0")
    arguments = ask.parse_args()
    torch.set_num_threads(1)

    def config(settings: Sequence[str]) -> Config:
        return config_of(arguments.data, arguments.source, arguments.work, [*arguments.set, *settings])

    number, parts = map(int, arguments.part.split("/"))
    with process_group() as ranks:
        bench = Bench(arguments.data, config, Records(arguments.json), ranks, time.monotonic() + 60 * arguments.minutes)
        if "alone" in arguments.stage:
            train(bench, arguments.spaces, arguments.alone_seeds, (number, parts))
        if "judge" in arguments.stage:
            judge(bench, arguments.spaces, arguments.seeds)
    if "table" in arguments.stage:
        print(table(bench))


if __name__ == "__main__":
    main()
