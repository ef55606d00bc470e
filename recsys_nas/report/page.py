"""Writes report.html, one self-contained page, and report.md: what the search decided, why, what it saves, whether to trust it."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_prep.atomic import write_text
from data_prep.wording import counted
from recsys_nas.report import comparison_figures, quantities, search_figures
from recsys_nas.report.architecture_picture import architecture_picture, space_blocks
from recsys_nas.report.intervals import half_width95
from recsys_nas.report.kept_rule import kept_when
from recsys_nas.report.mermaid import mermaid
from recsys_nas.report.records import FOUND, Record, RunRecords, read_run
from recsys_nas.report.trust import checks, is_edited, limits
from recsys_nas.report.verdict import judge
from recsys_nas.space import CATALOGUE

_HERE = Path(__file__).parent


def write_report(run: Path) -> Path:
    """Write `<run>/report.html` and, in words and tables alone, `<run>/report.md`; returns the path of the first.

    Raises ConfigError, one line, naming the record that is missing and the command that makes it.
    """
    records = read_run(run)
    path = run / "report.html"
    write_text(run / "report.md", render_markdown(records))
    write_text(path, render_page(records))
    return path


def render_page(run: RunRecords) -> str:
    """The whole page as HTML; it loads nothing and runs no script."""
    environment = _environment(autoescape=True)
    environment.filters["unbroken"] = _unbroken
    for quantity in (quantities.count, quantities.duration, quantities.share):
        environment.filters[quantity.__name__] = _on_one_line(quantity)
    return environment.get_template("report.html.j2").render(
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        figures=_figures(run),
        **_content(run),
    )


def render_markdown(run: RunRecords) -> str:
    """The same without figures, as Markdown; what it says, it says in the same words."""
    environment = _environment(autoescape=False)
    environment.filters |= {"cell": _cell, "interval": quantities.with_interval}
    for quantity in (quantities.count, quantities.duration, quantities.share):
        environment.filters[quantity.__name__] = quantity
    return environment.get_template("report.md.j2").render(architecture=mermaid(run.architecture), costs=_cost_rows(run), **_content(run))


def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"signed": quantities.signed, "counted": counted, "judged_days": quantities.judged_days}
    return environment


def _content(run: RunRecords) -> dict[str, Any]:
    """What both forms say."""
    found, *others = run.results["models"]
    by_gates = "strategy" not in run.alphas  # other strategies tell theirs, and judge whole networks
    return {
        "run": run,
        "results": run.results,
        "random": _random_row(run.results),
        "p": "mean probability of its gate" if by_gates else "share of the days' finalists that keep it",
        "kept_when": kept_when(run.alphas),
        "found": found,
        "others": others,
        "verdict": judge(run.results),
        "checks": checks(run),
        "edited": is_edited(run),
        "limits": limits(run),
        "facts": _facts(run),
    }


def _figures(run: RunRecords) -> dict[str, Markup]:
    names = [model["name"] for model in run.results["models"]]
    found = run.results["models"][0]
    costs = _found_costs(run)
    figures = {
        "pareto": comparison_figures.auc_against_flops(run.results, run.sweep),
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


def _random_row(results: Record) -> Record | None:
    """The random controls as a row of the table: mean AUC and its interval over networks; None where none were trained."""
    if not results.get("random"):
        return None
    aucs = results["random"]["auc"]
    return {
        "name": f"random, mean of {len(aucs)}",
        "auc": statistics.fmean(aucs),
        "auc_diff": results["random"]["found_auc"] - statistics.fmean(aucs),
        "auc_ci95": half_width95(aucs),
        "dense_flops": _between(results["random"]["dense_flops"]),
    }


def _between(values: list[float]) -> str:
    """`48.0 k to 62.1 k`."""
    return " to ".join(dict.fromkeys(quantities.count(bound(values)) for bound in (min, max)))


def _cell(text: str) -> str:
    """A name that stays within its cell."""
    return text.replace("|", "\\|")


def _unbroken(text: str) -> str:
    """Keep a figure, its interval and its unit on one line."""
    return text.replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%").replace("holds 0", "holds\u00a00")


def _on_one_line(quantity: Callable[..., str]) -> Callable[..., str]:
    return lambda *arguments: quantity(*arguments).replace(" ", "\u00a0")


def _found_costs(run: RunRecords) -> list[Record]:
    """What each module of the found network costs, its block counted as the search space does; all seeds say the same."""
    numbers = {0: 0} | dict(enumerate(space_blocks(run.architecture, run.alphas), start=1))
    costs = run.retrain[FOUND][0]["cost_by_module"]
    return [cost | {"block": numbers.get(cost["block"], cost["block"])} for cost in costs if cost["flops"]]


def _cost_rows(run: RunRecords) -> list[Record]:
    """The same with the order of each module and its share of the dense FLOPs."""
    total = run.results["models"][0]["dense_flops"] or 1
    return [
        cost | {"order": CATALOGUE[cost["module"]].order if cost["module"] in CATALOGUE else "", "share": cost["flops"] / total}
        for cost in _found_costs(run)
    ]


def _facts(run: RunRecords) -> list[tuple[str, str]]:
    """What one needs to run this again: name and value, `not recorded` where the run does not tell."""
    provenance, data = run.provenance, run.config.data
    command: Any = provenance.get("command", "not recorded")
    versions = provenance.get("versions", {})
    rates = [day["rows"] / day["seconds"] for day in run.days if day["seconds"]]
    tested = quantities.judged_days(run.results["test"])
    speed = f"{quantities.count(statistics.fmean(rates))} rows/s a day job, start and end included" if rates else "not recorded"
    return [
        ("Command", command if isinstance(command, str) else shlex.join(command)),
        ("Git commit", _commit(provenance)),
        ("Begun", _begun(provenance)),
        ("Seeds", f"search {run.config.seed}; retraining {', '.join(map(str, run.config.retrain.seeds))}"),
        ("Data", f"{data.shards}; searched on days {data.search_days}, trained on days {data.train_days}, tested on {tested}"),
        ("Data checksum", _checksum(provenance)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "not recorded"),
        ("Machine", _machine(provenance)),
        ("Search speed", speed),
    ]


def _checksum(provenance: Record) -> str:
    checksum = provenance.get("manifest_sha256")
    return f"sha256 {checksum} (manifest.json, which holds those of all files)" if checksum else "not recorded"


def _commit(provenance: Record) -> str:
    """The commit; a run from edited files is not what the commit alone gives, and says so."""
    commit = provenance.get("git_commit") or "not recorded"
    return f"{commit}, with uncommitted changes" if provenance.get("git_dirty") else str(commit)


def _begun(provenance: Record) -> str:
    times = len(provenance.get("continued", []))
    later = (
        f", continued {'once' if times == 1 else f'{times} times'} by other code, packages or command, or on other data" if times else ""
    )
    return f"{provenance.get('created', 'not recorded')}{later}"


def _machine(provenance: Record) -> str:
    if "platform" not in provenance:
        return "not recorded"
    return f"{provenance['platform']}, {provenance.get('cpu_count')} cores, Python {provenance.get('python')}"
