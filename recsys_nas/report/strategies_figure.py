"""Strategies side by side: test AUC of what each one found against the rows and the seconds that its search took."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from recsys_nas.report import svg
from recsys_nas.report.intervals import half_width95

PANELS = (("search_rows", "rows that the search trained on"), ("search_cpu_seconds", "search, processor seconds"))


def strategies_svg(outcomes: Sequence[dict[str, Any]]) -> str:
    """A stand-alone SVG. `outcomes` as `recsys_nas.jobs.compare_strategies.Outcome` has them; a faint mark a seed, a full one for their
    mean with its 95 % interval."""
    names = list(dict.fromkeys(outcome["strategy"] for outcome in outcomes))
    with svg.style():
        figure, left = svg.canvas(760, 340, left=64, right=410, top=20, bottom=48)
        right = figure.add_axes((404 / 760, left.get_position().y0, 226 / 760, left.get_position().height), sharey=left)
        for axes, (cost, label) in zip((left, right), PANELS, strict=True):
            for number, name in enumerate(names):
                group = [outcome for outcome in outcomes if outcome["strategy"] == name]
                _draw(axes, group, cost, number, name)
            axes.set_xlim(left=0)
            axes.margins(x=0.1)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: svg.short(value)))
            axes.set_xlabel(label)
        left.ticklabel_format(axis="y", useOffset=False)
        left.set_ylabel("test AUC, mean over seeds and its 95 % interval")
        right.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        return svg.stand_alone(figure, "strategies")


def _draw(axes: Any, group: Sequence[dict[str, Any]], cost: str, number: int, name: str) -> None:
    aucs = [outcome["auc"] for outcome in group]
    costs = [outcome[cost] for outcome in group]
    look = {"color": svg.colour(number), "marker": svg.marker(number), "linestyle": "none"}
    if len(group) > 1:
        axes.plot(costs, aucs, markersize=4, alpha=0.35, **look)
    width = half_width95(aucs) or 0.0
    axes.errorbar(statistics.fmean(costs), statistics.fmean(aucs), width, markersize=7, elinewidth=1.1, label=name, **look)
