"""AUC against FLOPs: the search again under other prices, each found network retrained, beside the zoo and random networks.

Each price is a run of its own in `<run>/pareto/<price>/`, with the same days, tables and settings. All steps are those of the run itself
and are skipped where they are done, so that a stopped sweep goes on.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json, write_text
from recsys_nas.architecture_files import CONTROL, check_current
from recsys_nas.config import ConfigError, load_config, parse_days, to_toml
from recsys_nas.jobs.assembly import Run, read_json
from recsys_nas.jobs.environment import Ranks
from recsys_nas.jobs.retrain import retrain
from recsys_nas.jobs.search_day import search_day
from recsys_nas.provenance import refuse_other_config
from recsys_nas.report.intervals import half_width95
from recsys_nas.report.pareto_figure import pareto_svg
from recsys_nas.search.aggregate import DECOY_SURVIVED, aggregate_run
from recsys_nas.zoo.catalogue import FOUND, FULL_SUPERNET, REFINED

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Point:
    """A network: where it comes from (`found`, `zoo`, `random` or `supernet`), dense FLOPs an example, mean AUC over
    seeds, and its 95 % half-width."""

    name: str
    kind: str
    dense_flops: int
    auc: float
    auc_ci95: float | None


def sweep(run: Run, prices: Sequence[str], ranks: Ranks) -> list[Point]:
    """Search, aggregate and retrain under each of `prices`, `section.key=value` of the config, and write `<run>/pareto.json` and `.svg`.

    Points are in order of their FLOPs: the found network of each price, and whatever the run itself has trained. Raises ConfigError for
    a price that is none, a strategy that heeds none, and a price's folder of another config.
    """
    if run.config.search.strategy != "dnas":
        raise ConfigError(f"search.strategy = {run.config.search.strategy!r}: only 'dnas' heeds a price; cap others by trials.max_flops")
    priced = [_priced(run, price) for price in prices]
    _trained(run.folder)  # refuses results of another architecture, before anything is searched
    points = [_found_under(priced, price, ranks) for priced, price in zip(priced, prices, strict=True)] + _trained(run.folder)
    points.sort(key=lambda point: (point.dense_flops, -point.auc))
    written = [vars(point) for point in points]
    write_json(run.folder / "pareto.json", {"format_version": FORMAT_VERSION, "prices": list(prices), "points": written})
    write_text(run.folder / "pareto.svg", pareto_svg(written, {point.name for point in front(points)}))
    return points


def days_of(run: Run) -> tuple[int, ...]:
    """All days that a sweep reads."""
    return tuple(dict.fromkeys((*parse_days(run.config.data.search_days, "data.search_days"), *run.retrain_days)))


def front(points: Sequence[Point]) -> set[Point]:
    """Those than which no other is better at no more FLOPs, or as good at fewer."""
    return {point for point in points if not any(_beats(other, point) for other in points)}


def _beats(one: Point, other: Point) -> bool:
    no_worse = one.auc >= other.auc and one.dense_flops <= other.dense_flops
    return no_worse and (one.auc, one.dense_flops) != (other.auc, other.dense_flops)


def sweep_text(points: Sequence[Point]) -> str:
    """A line a network, those on the front marked."""
    best, width = front(points), max(len(point.name) for point in points)
    lines = [f"{'':<2}{'network':<{width}}  {'from':<8}  {'dense FLOPs':>12}  AUC, ± 95 % over seeds"]
    for point in points:
        spread = "" if point.auc_ci95 is None else f" ± {point.auc_ci95:.4f}"
        mark = "* " if point in best else "  "
        lines.append(f"{mark}{point.name:<{width}}  {point.kind:<8}  {point.dense_flops:>12,}  {point.auc:.4f}{spread}")
    return "\n".join([*lines, "* none of the others has as much AUC at as few FLOPs"])


def _priced(run: Run, price: str) -> Run:
    """The run of one price, its config written; all of them are checked before the first is searched."""
    folder = run.folder / "pareto" / price.partition(".")[2].replace("=", "-")
    # No name of its own, so that seeds and controls are drawn as in the run; no target of the run's, under which no weight would count.
    config = load_config(run.folder / "config.toml", ["search.target_flops=0", price])
    refuse_other_config(folder, config, f"remove {folder}")
    write_text(folder / "config.toml", to_toml(config))
    return dataclasses.replace(Run.open(folder), shards=run.shards)


def _found_under(priced: Run, price: str, ranks: Ranks) -> Point:
    for day in parse_days(priced.config.data.search_days, "data.search_days"):
        search_day(priced, day, ranks)
    if not aggregate_run(priced.folder):
        print(f"warning: {price}: {DECOY_SURVIVED}", file=sys.stderr, flush=True)
    for seed in priced.config.retrain.seeds:
        retrain(priced, FOUND, seed, ranks)
    return _point(priced.folder / "retrain" / FOUND, price.partition(".")[2], "found")


def _trained(run: Path) -> list[Point]:
    """All models of the run that have results. Raises ConfigError for one of another architecture than the run's."""
    results = sorted((run / "retrain").glob("*/seed=*/result.json"))
    for path in results:
        check_current(run, path.parent.parent.name, read_json(path), path)
    models = sorted({path.parent.parent for path in results})
    return [_point(model, model.name, _kind(model.name)) for model in models]


def _kind(name: str) -> str:
    if CONTROL.fullmatch(name):
        return "random"
    return {FOUND: "found", REFINED: "found", FULL_SUPERNET: "supernet"}.get(name, "zoo")


def _point(folder: Path, name: str, kind: str) -> Point:
    results: list[dict[str, Any]] = [read_json(path) for path in sorted(folder.glob("seed=*/result.json"))]
    aucs = [float(result["auc"]) for result in results]
    return Point(name, kind, int(results[0]["dense_flops"]), statistics.fmean(aucs), half_width95(aucs))
