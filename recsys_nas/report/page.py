"""Writes report.html: one self-contained page that says what the search decided, why, what it saves and whether to trust it."""

from __future__ import annotations

import shlex
import statistics
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_prep.atomic import write_text
from recsys_nas.report import comparison_figures, quantities, search_figures
from recsys_nas.report.architecture_picture import architecture_picture
from recsys_nas.report.records import FOUND, Record, RunRecords, read_run
from recsys_nas.report.trust import checks, limits
from recsys_nas.report.verdict import judge

_HERE = Path(__file__).parent


def write_report(run: Path) -> Path:
    """Write `<run>/report.html` from the records in `run`, and return its path.

    Raises ConfigError, one line, naming the record that is missing and the command that makes it.
    """
    path = run / "report.html"
    write_text(path, render_page(read_run(run)))
    return path


def render_page(run: RunRecords) -> str:
    """The whole page as HTML; it loads nothing and runs no script."""
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        count=quantities.count, duration=quantities.duration, signed=quantities.signed, share=quantities.share,
        with_interval=quantities.with_interval,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        run=run,
        results=run.results,
        found=run.results["models"][0],
        others=run.results["models"][1:],
        verdict=judge(run.results),
        figures=_figures(run),
        checks=checks(run),
        limits=limits(run),
        facts=_facts(run),
    )


def _figures(run: RunRecords) -> dict[str, Markup]:
    names = [model["name"] for model in run.results["models"]]
    found = run.results["models"][0]
    costs = _mean_costs(run.retrain[FOUND])
    figures = {
        "pareto": comparison_figures.auc_against_flops(run.results),
        "gates": search_figures.gate_heat_map(run.alphas),
        "architecture": architecture_picture(run.architecture, run.alphas, costs, found["dense_flops"]),
        "cost": search_figures.cost_by_module(found, costs),
        "learning": comparison_figures.learning_curves(run.retrain, names),
        "calibration": comparison_figures.calibration(run.retrain, names[:2]),
        "time": search_figures.time_spent(run.results),
    }
    if len(names) > 1:
        figures["differences"] = comparison_figures.paired_differences(run.results)
    return figures


def _mean_costs(records: list[Record]) -> list[Record]:
    """The cost of each module; seeds agree on it, so the first one tells."""
    return [cost for cost in records[0]["cost_by_module"] if cost["flops"]]


def _facts(run: RunRecords) -> list[tuple[str, str]]:
    """What one needs to run this again: name and value, `not recorded` where the run does not tell."""
    provenance, data = run.provenance, run.config.data
    command: Any = provenance.get("command", "not recorded")
    versions = provenance.get("versions", {})
    rates = [day["rows"] / day["seconds"] for day in run.days if day["seconds"]]
    return [
        ("Command", command if isinstance(command, str) else shlex.join(command)),
        ("Git commit", str(provenance.get("git_commit") or "not recorded")),
        ("Begun", str(provenance.get("created", "not recorded"))),
        ("Seeds", f"search {run.config.seed}; retraining {', '.join(map(str, run.config.retrain.seeds))}"),
        ("Data", f"{data.shards}; searched on days {data.search_days}, trained on days {data.train_days}, tested on day {data.test_day}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"),
        ("Search speed", f"{quantities.count(statistics.fmean(rates))} rows/s a day job, start and end included" if rates else "not recorded"),
    ]
