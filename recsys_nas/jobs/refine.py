"""From the found network to a better neighbour: modules are added or dropped one at a time, each trial a training from scratch.

A supernet's gates say what a module is worth while all others are there and nothing is trained to its end. What it adds to the network
that was found, under the rules of retraining, only such a training says. In each round every neighbour within the budget is trained with
the first seed, the better half with the next as well, and so on (successive halving: Jamieson and Talwalkar, 2016); the best of those
trained with all seeds takes the network's place where its mean AUC is higher, or the search ends. With a tolerance the cheapest of those
within it of the best mean so far is taken instead.

Each network is a run of its own in `<run>/refine/<key>/`. What is trained already is not trained again, so that a stopped search goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json, write_text
from recsys_nas.architecture_files import REFINED_ARCHITECTURE
from recsys_nas.config import Config, ConfigError, load_config, parse_days, to_toml
from recsys_nas.cost import dense_flops
from recsys_nas.jobs.assembly import Run, read_json
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.networks import architecture_of
from recsys_nas.jobs.retrain import retrain
from recsys_nas.judged_days import days_before, scored_days
from recsys_nas.search.aggregate import DECOY_SURVIVED
from recsys_nas.space import Architecture, Gate, SearchSpace
from recsys_nas.zoo.catalogue import FOUND, REFINED

FORMAT_VERSION = 1


@dataclass
class Candidate:
    """A network, by its `change` to the one before it (`+2/cross`, `-1/fm`; empty: itself), and its AUC by seed."""

    change: str
    network: Architecture
    aucs: dict[int, float] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0

    def mean(self) -> float:
        return statistics.fmean(self.aucs.values())

    def to_json(self) -> dict[str, Any]:
        record = {"change": self.change, "key": self.network.key(), "dense_flops": dense_flops(self.network), "auc": self.mean()}
        return record | {"auc_by_seed": self.aucs, "train_rows": self.rows, "train_seconds": self.seconds}


Judge = Callable[[Candidate, int], None]
"""Trains a candidate with a seed and adds what came of it."""


def refine(
    run: Run, max_flops: int, judged_days: str, seeds: Sequence[int], rounds: int, ranks: Ranks, tolerance: float = 0.0
) -> list[list[Candidate]]:
    """Write `<run>/refine.json` and `<run>/refine/architecture.json`, and return the candidates of each round, the one that is taken first.

    AUC is that of the best epoch on `data.valid_days`; without any, that of `judged_days`, each by a model trained on the search days
    before it (empty: the last search day). The test day plays no part. Raises ConfigError where the space has no independent gates,
    the found network costs more than `max_flops` dense FLOPs, a judged day has no search day before it, or another refined network is
    trained already.
    """
    judged = _judged_config(run, judged_days)
    start = _numbered_as_in_space(run, architecture_of(run, FOUND))
    if dense_flops(start) > max_flops:
        raise ConfigError(f"the found network needs {dense_flops(start):,} dense FLOPs, more than the {max_flops:,} that it may have")

    def train(candidate: Candidate, seed: int) -> None:
        result = _trained(run, judged, candidate.network, seed, ranks)
        candidate.aucs[seed] = _auc(result, judged)
        candidate.rows += result["train_rows"]
        candidate.seconds += result["train_seconds"]
        print(f"{_name(candidate)}, seed {seed}: AUC {candidate.aucs[seed]:.5f}", file=sys.stderr, flush=True)

    history: list[list[Candidate]] = []
    asked = {"max_flops": max_flops, "seeds": list(seeds), "tolerance": tolerance}
    for candidates in _rounds(run.space(), start, max_flops, seeds, rounds, tolerance, train):
        history.append(candidates)
        write_json(run.folder / "refine.json", _record(run.config, judged, history, asked))
    _write_architecture(run, history[-1][0].network)
    return history


def _numbered_as_in_space(run: Run, network: Architecture) -> Architecture:
    """The same network with its blocks numbered as the space numbers them, from which its gates can be read; its canonical form, in which
    it lies on disk, has no empty blocks. Raises ConfigError for a network that no gates of the space make."""
    space = run.space()
    for gates in (_kept_gates(run.folder / "alphas.json"), space.kept_gates(network)):
        if gates and set(gates) <= set(space.gates) and (member := space.architecture(gates)).key() == network.key():
            return member
    raise ConfigError(
        f"{run.folder / 'architecture.json'} is no choice of modules of the run's space, so that none can be added or dropped"
    )


def _kept_gates(alphas: Path) -> list[Gate]:
    """As the days said; none where the file is not there, as with a network put together by hand."""
    try:
        said = read_json(alphas)
        if not said.get("valid", True):
            print(f"warning: {DECOY_SURVIVED}", file=sys.stderr, flush=True)
        return [Gate(gate["block"], gate["module"]) for gate in said["gates"] if gate["kept"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{alphas} is damaged ({error!r}); run `recsys-nas aggregate {alphas.parent}` again") from error


def _write_architecture(run: Run, best: Architecture) -> None:
    path, trained = run.folder / REFINED_ARCHITECTURE, run.folder / "retrain" / REFINED
    if trained.exists() and path.exists() and read_json(path) != best.canonical().to_json():
        raise ConfigError(f"{trained} holds trainings of the network that was refined before; move it away, and run this again")
    write_json(path, best.canonical().to_json())


def _rounds(
    space: SearchSpace, start: Architecture, max_flops: int, seeds: Sequence[int], rounds: int, tolerance: float, train: Judge
) -> Iterator[list[Candidate]]:
    """The candidates of each round, that from which the next one starts first."""
    best_mean = -math.inf
    for _ in range(rounds):
        candidates = halved(Candidate("", start), neighbours(space, start, max_flops), seeds, train)
        # Below the best of all rounds, not of this one: else a tolerance would be spent again in each.
        best_mean = max(best_mean, candidates[0].mean())
        taken = cheapest_within(candidates, len(seeds), best_mean - tolerance)
        yield [taken, *(candidate for candidate in candidates if candidate is not taken)]
        if not taken.change:
            return
        start = taken.network


def cheapest_within(candidates: Sequence[Candidate], seeds: int, least: float) -> Candidate:
    """Of those trained with so many seeds whose mean AUC is at least this, the one of the fewest dense FLOPs; of equal ones the first."""
    return min((c for c in candidates if len(c.aucs) == seeds and c.mean() >= least), key=lambda c: dense_flops(c.network))


def halved(current: Candidate, rivals: list[Candidate], seeds: Sequence[int], train: Judge) -> list[Candidate]:
    """All of them, those trained with most seeds first, and of these the best by mean AUC; `current` is trained with every seed."""
    left = list(rivals)
    for seed in seeds:
        for candidate in (current, *left):
            train(candidate, seed)
        left.sort(key=Candidate.mean, reverse=True)
        if seed != seeds[-1]:
            del left[math.ceil(len(left) / 2) :]
    return sorted([current, *rivals], key=lambda candidate: (-len(candidate.aucs), -candidate.mean()))


def neighbours(space: SearchSpace, network: Architecture, max_flops: int) -> list[Candidate]:
    """Those of one module more or less, within the budget, in the order of the space's gates; blocks are numbered as in the space, which
    `network` must be, too. Raises ValueError where the space has no gates."""
    kept = set(space.kept_gates(network))
    found: dict[str, Candidate] = {network.key(): Candidate("", network)}
    for gate in space.gates:
        if changed := kept ^ {gate}:
            other = space.architecture(changed)
            if dense_flops(other) <= max_flops:
                found.setdefault(other.key(), Candidate(_sign(gate, kept) + str(gate), other))
    return [candidate for candidate in found.values() if candidate.change]


def _sign(gate: Gate, kept: set[Gate]) -> str:
    return "-" if gate in kept else "+"


def _judged_config(run: Run, judged_days: str) -> Config:
    """The run's config, judged without its test day."""
    path, data = run.folder / "config.toml", run.config.data
    if data.validation:
        if judged_days:
            raise ConfigError(f"--judge-days {judged_days}: data.valid_days = {data.valid_days!r} judges already")
        # Of several scored days, models of the later ones are trained on the earlier ones; here none may be.
        train_days = ",".join(map(str, days_before(run.config, min(scored_days(run.config)))))
        return load_config(path, [f'data.train_days="{train_days}"', 'retrain.progressive=""'])
    last = judged_days or str(run.search_days[-1])
    if min(parse_days(last, "--judge-days")) <= min(run.search_days):
        raise ConfigError(f"--judge-days {last}: no day of data.search_days = {data.search_days!r} comes before its first, to train on")
    if outside := set(parse_days(last, "--judge-days")) - set(run.search_days):
        raise ConfigError(f"--judge-days {last}: day {min(outside)} is not one of data.search_days = {data.search_days!r}")
    return load_config(path, [f'data.train_days="{data.search_days}"', f'retrain.progressive="{last}"'])


def _trained(run: Run, judged: Config, network: Architecture, seed: int, ranks: Ranks) -> dict[str, Any]:
    folder = run.folder / "refine" / network.key()
    if (folder / "config.toml").exists() and load_config(folder / "config.toml") != judged:
        raise ConfigError(f"{folder.parent} is of another config or of other judged days; move it away, or ask as it was asked then")
    write_text(folder / "config.toml", to_toml(judged))
    write_json(folder / "architecture.json", network.canonical().to_json())
    with (folder / "log").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log):  # a table of the sharding plan each
        retrain(dataclasses.replace(Run.open(folder), shards=run.shards), FOUND, seed, ranks)
    return read_json(folder / "retrain" / FOUND / f"seed={seed}" / "result.json")


def _auc(result: dict[str, Any], judged: Config) -> float:
    if judged.data.validation:
        epochs = result["validations"]
        return float(epochs[judged.retrain.early_stopping.best_of(epochs)]["auc"])
    return float(result["auc"])


def _record(config: Config, judged: Config, history: Sequence[Sequence[Candidate]], asked: Mapping[str, Any]) -> dict[str, Any]:
    days = config.data.valid_days or judged.retrain.progressive
    told = {"format_version": FORMAT_VERSION, "judged_days": days, **asked}
    return told | {"rounds": [[candidate.to_json() for candidate in candidates] for candidates in history]}


def days_of(run: Run, judged_days: str) -> tuple[int, ...]:
    """All days that a refinement reads."""
    return dataclasses.replace(run, config=_judged_config(run, judged_days)).retrain_days


def refine_text(history: Sequence[Sequence[Candidate]]) -> str:
    """A table a round; each network by its change, a mark where it takes the place of the one before."""
    lines = []
    for number, candidates in enumerate(history, start=1):
        width = max(len(_name(candidate)) for candidate in candidates)
        lines.append(f"round {number}\n  {'network':<{width}}  {'seeds':>5}  {'AUC':>7}  {'dense FLOPs':>11}")
        for candidate in candidates:
            mark = "* " if candidate is candidates[0] else "  "
            cost = f"{dense_flops(candidate.network):>11,}"
            lines.append(f"{mark}{_name(candidate):<{width}}  {len(candidate.aucs):>5}  {candidate.mean():>7.5f}  {cost}")
    return "\n".join([*lines, "* taken of those trained with all seeds, from which the next round starts"])


def _name(candidate: Candidate) -> str:
    return candidate.change or "as it is"
