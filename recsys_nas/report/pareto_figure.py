"""AUC against dense FLOPs of a sweep: found networks beside those of the zoo and random ones, and the front that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, NullFormatter

from recsys_nas.report import svg

KINDS = ("found", "zoo", "random", "supernet")
TARGET = "target_flops"


def pareto_svg(points: Sequence[dict[str, Any]], front: set[str]) -> str:
    """A stand-alone SVG. `points` are in order of their FLOPs, as `recsys_nas.jobs.pareto.Point` has them; `front` names those on it."""
    with svg.style():
        figure, axes = svg.canvas(640, 400, left=64, right=24, top=36, bottom=48)
        best = [point for point in points if point["name"] in front]
        axes.step([_flops(p) for p in best], [p["auc"] for p in best], where="post", color=svg.FAINT, zorder=1)
        for number, kind in enumerate(KINDS):
            of_kind = [point for point in points if point["kind"] == kind]
            if of_kind:
                x, y, spread = [_flops(p) for p in of_kind], [p["auc"] for p in of_kind], [p["auc_ci95"] or 0.0 for p in of_kind]
                axes.errorbar(x, y, spread, fmt=svg.marker(number), color=svg.colour(number), elinewidth=1.1, markersize=6, label=kind)
        axes.set_xscale("log")
        for place, label in _labels([p for p in points if p["kind"] in ("zoo", "supernet") or p in best]).items():
            side, offset = ("left", 6) if axes.transAxes.inverted().transform(axes.transData.transform(place))[0] < 0.5 else ("right", -6)
            axes.annotate(label, place, (offset, 5), textcoords="offset points", ha=side, fontsize=10)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: svg.short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_xlabel("dense FLOPs per example (log scale)")
        axes.set_ylabel("AUC, mean over seeds and its 95 % interval")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(KINDS))
        return svg.stand_alone(figure, "sweep")


def _labels(points: Sequence[dict[str, Any]]) -> dict[tuple[int, float], str]:
    """By place in the figure: the names of all networks there, a target by its FLOPs; not those of random ones, which say nothing."""
    names: dict[tuple[int, float], list[str]] = {}
    for point in (point for point in points if point["kind"] != "random"):
        what, _, value = point["name"].partition("=")
        names.setdefault((_flops(point), point["auc"]), []).append(f"target {svg.short(float(value))}" if what == TARGET else point["name"])
    return {place: ", ".join(several) for place, several in names.items()}


def _flops(point: dict[str, Any]) -> int:
    return max(int(point["dense_flops"]), 1)
