"""The comparison as a table in the terminal, plain when it is piped, with the verdict below it."""

from __future__ import annotations

import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from data_prep.wording import counted
from recsys_nas.report.quantities import MINUS, count, judged_days
from recsys_nas.report.records import FOUND, Record
from recsys_nas.report.verdict import judge

_WIDTH = 100
_COLUMNS = ("model", "AUC", "log loss", "NE", "dense FLOPs", "lookup FLOPs", "lookup bytes", "dense params", "train seconds")
_WIDE = ("model", "AUC")


def print_results(results: dict[str, Any], console: Console | None = None) -> None:
    """Print `results`, as `write_results` makes them, within 100 columns; to standard output unless told otherwise."""
    # piped output knows no width, and rich would then guess 80
    console = console or Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    ascii_only = console.options.ascii_only
    text = _ascii if ascii_only else str
    console.print(_table(results, text))
    console.print(text(judge(results).sentence), highlight=False, width=min(console.width, _WIDTH))
    if random := results.get("random"):
        console.print(text(_among_random(random)), highlight=False, width=min(console.width, _WIDTH))


def _table(results: Record, text: Any) -> Table:
    seeds = len(results["models"][0]["seeds"])
    over = counted(seeds, "seed") if seeds == 1 else f"means over {seeds} seeds, ± 95 %"
    test = results["test"]
    named = judged_days(test)
    judged = f"Test {named}" if named.startswith("day ") else named.capitalize()
    title = text(f"{judged}, {counted(test['rows'], 'row')}; {over}; costs per example")
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="", pad_edge=False, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        # a heading may break between words, figures and names may not
        heading = name if name in _WIDE else name.replace(" ", "\n")
        table.add_column(heading, justify="left" if name in _WIDE else "right", no_wrap=True, vertical="bottom")
    for model in results["models"]:
        table.add_row(*map(text, _row(model)), style="bold" if model["name"] == FOUND else "")
    bayes = results["bayes"]
    if bayes:
        ne = "" if bayes.get("ne") is None else f"{bayes['ne']:.4f}"
        table.add_section()
        table.add_row("Bayes-optimal", f"{bayes['auc']:.4f}", f"{bayes['logloss']:.4f}", ne, style="italic")
    return table


def _among_random(random: Record) -> str:
    return (
        f"Of {counted(random['count'], 'random network')} at its FLOPs, trained alike (seed {random['seed']}), {FOUND} is ahead of "
        f"{random['percentile_vs_random']:.0f} %: AUC {random['found_auc']:.4f} against {random['auc_median']:.4f} in the median and "
        f"{random['auc_best']:.4f} at best."
    )


def _row(model: Record) -> tuple[str, ...]:
    return (
        model["name"],
        f"{model['auc']:.4f}" + ("" if model["auc_ci95"] is None else f" ± {model['auc_ci95']:.4f}"),
        f"{model['logloss']:.4f}",
        f"{model['ne']:.4f}",
        *(count(model[cost]) for cost in ("dense_flops", "lookup_flops", "lookup_bytes", "dense_params")),
        f"{model['train_seconds']:.1f}",
    )


def _ascii(text: str) -> str:
    for fancy, plain in (("±", "+-"), (MINUS, "-")):
        text = text.replace(fancy, plain)
    return text
