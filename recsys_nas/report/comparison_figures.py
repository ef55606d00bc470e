"""Figures that compare the retrained models: quality against cost, paired differences, learning curves, calibration.

Each function returns one inline SVG. Models keep their colour and marker through all of them, by their place in `names`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from recsys_nas.report import svg
from recsys_nas.report.labels import Box, place, spread
from recsys_nas.report.quantities import signed
from recsys_nas.report.records import FOUND, Record

_WIDTH = 400
_MAX_STRETCHES = 25


def auc_against_flops(results: Record, sweep: Sequence[Record] = ()) -> Markup:
    """Mean AUC with its interval against dense FLOPs (log axis), and the Bayes-optimal AUC where it is known.

    Random networks are a cloud, those of a `sweep` over prices hollow. A line joins the ones that no other beats in both at once.
    """
    models, bayes = results["models"], results["bayes"]
    cloud = random_networks(results)
    every = [*models, *sweep, *cloud]
    with svg.style():
        figure, axes = svg.canvas(_WIDTH, 300, left=58, right=18, top=16, bottom=44)
        for model in cloud:
            axes.plot(_flops(model), model["auc"], "o", color=svg.MUTED, alpha=0.55, markersize=4, zorder=2)
        for model in sweep:
            axes.errorbar(_flops(model), model["auc"], model["auc_ci95"], color=svg.colour(0), elinewidth=0.8, zorder=2)
            axes.plot(_flops(model), model["auc"], svg.marker(0), color=svg.colour(0), markerfacecolor=svg.CARD, markersize=7, zorder=2)
        flops = [_flops(model) for model in models]
        front = pareto_front(every)
        axes.step([_flops(m) for m in front], [m["auc"] for m in front], where="post", color=svg.MUTED, linewidth=1, zorder=1)
        for i, model in enumerate(models):
            axes.errorbar(flops[i], model["auc"], model["auc_ci95"], color=svg.colour(i), elinewidth=1.2, zorder=2)
            axes.plot(flops[i], model["auc"], svg.marker(i), color=svg.colour(i), markersize=10 if i == 0 else 7, zorder=3)
        axes.set_xscale("log")
        low, high = (bound(map(_flops, every)) for bound in (min, max))
        axes.set_xlim(low / _pad(low, high), high * _pad(low, high) ** 1.7)  # names stand to the right
        _limit_auc(axes, every, bayes)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: svg.short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("dense FLOPs per example (log scale)")
        axes.set_ylabel("AUC")
        _name_points(axes, models, [*sweep, *cloud], front)
        return svg.render(figure, "pareto", "AUC against dense FLOPs of every model; the figures are in the table above.")


def random_networks(results: Record) -> list[Record]:
    """Dense FLOPs and AUC of each random control; empty where none were trained."""
    random = results.get("random") or {"dense_flops": [], "auc": []}
    return [{"dense_flops": flops, "auc": auc, "auc_ci95": None} for flops, auc in zip(random["dense_flops"], random["auc"], strict=True)]


def _flops(model: Record) -> float:
    return float(max(model["dense_flops"], 1))


def pareto_front(models: Sequence[Record]) -> list[Record]:
    """The models, in order of dense FLOPs, with a higher mean AUC than every model that costs no more."""
    front: list[Record] = []
    for model in sorted(models, key=lambda model: (model["dense_flops"], -model["auc"])):
        if not front or model["auc"] > front[-1]["auc"]:
            front.append(model)
    return front


def _pad(low: float, high: float) -> float:
    return max((high / low) ** 0.12, 1.3)


def _limit_auc(axes: Axes, models: list[Record], bayes: Record | None) -> None:
    """Show the Bayes line when the models still fill a fair part of the axis; else say that it lies above."""
    tops = [model["auc"] + (model["auc_ci95"] or 0) for model in models]
    bottoms = [model["auc"] - (model["auc_ci95"] or 0) for model in models]
    low, high = min(bottoms), max(tops)
    room = max(high - low, 0.002)
    if bayes and bayes["auc"] - low < 2.2 * room:
        high = max(high, bayes["auc"])
        axes.axhline(bayes["auc"], color=svg.MUTED, linestyle=(0, (5, 3)), linewidth=1.2)
        axes.annotate(f"Bayes-optimal {bayes['auc']:.4f}", (0, bayes["auc"]), (2, 4), xycoords=axes.get_yaxis_transform(),
                      textcoords="offset points", color=svg.MUTED, fontsize=10.5)  # fmt: skip
    elif bayes:
        axes.annotate(f"Bayes-optimal {bayes['auc']:.4f}, above this range ↑", (0, 1), (2, 4), xycoords="axes fraction",
                      textcoords="offset points", color=svg.MUTED, fontsize=10.5)  # fmt: skip
    margin = 0.12 * max(high - low, 0.002)
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.ticklabel_format(axis="y", useOffset=False)


def _name_points(axes: Axes, models: list[Record], nameless: list[Record], front: list[Record]) -> None:
    """Write the name of each model beside its point, clear of the others, of those that have none, and of the line along the front."""
    points = [(_flops(model), model["auc"]) for model in models]
    pixels = [tuple(axes.transData.transform(point)) for point in points]
    sizes = [(svg.text_width(model["name"], 11.5), 13.0) for model in models]
    frame = axes.bbox
    bars = [Box(x - 4, y - 4, 8, 8) for x, y in (axes.transData.transform((_flops(model), model["auc"])) for model in nameless)]
    for (x, y), (_, auc), model in zip(pixels, points, models, strict=True):
        half = model["auc_ci95"] or 0
        top = axes.transData.transform((1, auc + half))[1]
        bars.append(Box(x - 3, 2 * y - top, 6, 2 * (top - y)))
    corners = [tuple(axes.transData.transform((_flops(model), model["auc"]))) for model in front]
    for (x, y), (right, top) in pairwise(corners):
        bars += [Box(x, y - 2, right - x, 4), Box(right - 2, y, 4, top - y)]
    boxes = place(pixels, sizes, Box(frame.x0, frame.y0, frame.width, frame.height), bars)
    for i, (box, (x, y)) in enumerate(zip(boxes, pixels, strict=True)):
        side = "left" if box.left >= x else "right" if box.left + box.width <= x else "center"
        offset = {"left": box.left, "right": box.left + box.width, "center": x}[side] - x
        axes.annotate(models[i]["name"], points[i], (offset, box.bottom + box.height / 2 - y), textcoords="offset points", ha=side,
                      va="center_baseline", color=svg.INK, fontsize=11.5, fontweight="bold" if i == 0 else "normal", zorder=4)  # fmt: skip


def paired_differences(results: Record) -> Markup:
    """AUC of `found` minus that of each other model, over paired seeds, with its interval around a line at nought."""
    models = results["models"][1:]
    with svg.style():
        left = 24 + max(svg.text_width(model["name"]) for model in models)
        figure, axes = svg.canvas(_WIDTH, 78 + 32 * len(models), left=left, right=106, top=26, bottom=44)
        axes.axvline(0, color=svg.MUTED, linewidth=1.2)
        for i, model in enumerate(models):
            pairing, y = model["vs_found"], -i
            axes.errorbar(pairing["auc_diff"], y, xerr=pairing["auc_diff_ci95"], color=svg.colour(i + 1), elinewidth=2.4, zorder=2)
            axes.plot(pairing["auc_diff"], y, svg.marker(i + 1), color=svg.colour(i + 1), markersize=8, zorder=3)
            half = pairing["auc_diff_ci95"]
            text = signed(pairing["auc_diff"]) + ("" if half is None else f" ± {half:.4f}")
            axes.annotate(text, (1, y), (8, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="center", fontsize=10.5)
        axes.set_yticks([-i for i in range(len(models))], [model["name"] for model in models])
        axes.tick_params(axis="y", labelcolor=svg.INK, labelsize=11)
        axes.set_ylim(0.6 - len(models), 0.6)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        reach = max(abs(m["vs_found"]["auc_diff"]) + (m["vs_found"]["auc_diff_ci95"] or 0) for m in models) or 1e-4
        lowest = min(m["vs_found"]["auc_diff"] - (m["vs_found"]["auc_diff_ci95"] or 0) for m in models)
        highest = max(m["vs_found"]["auc_diff"] + (m["vs_found"]["auc_diff_ci95"] or 0) for m in models)
        axes.set_xlim(min(lowest, 0) - 0.12 * reach, max(highest, 0) + 0.12 * reach)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, 5).rstrip("0").rstrip(".") or "0"))
        axes.set_xlabel("difference in AUC, found minus the other")
        for side, text, offset in (("left", f"{FOUND} better →", 6), ("right", f"← {FOUND} worse", -6)):
            axes.annotate(text, (0, 1), (offset, 8), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                          ha=side, color=svg.MUTED, fontsize=10.5, annotation_clip=False)  # fmt: skip
        return svg.render(figure, "differences", "Difference in AUC between found and each other model, with 95 % intervals.")


def learning_curves(retrain: dict[str, list[Record]], names: Sequence[str]) -> Markup:
    """Normalised entropy while training, mean over seeds, named at the end of each line."""
    with svg.style():
        right = 22 + max(svg.text_width(name) for name in names)
        figure, axes = svg.canvas(_WIDTH, 270, left=54, right=right, top=12, bottom=44)
        curves = {name: _mean_curve([record["learning_curve"] for record in retrain[name]]) for name in names}
        last = max((x[-1] for x, _ in curves.values() if x), default=1)
        # the first rows fall so steeply that they would flatten all that matters
        settled = [y for x, ys in curves.values() for a, y in zip(x, ys, strict=True) if a >= 0.15 * last] or [0, 1]
        margin = 0.08 * max(max(settled) - min(settled), 1e-3)
        axes.set_ylim(min(settled) - margin, max(settled) + margin)
        axes.set_xlim(0, last)
        for i, name in enumerate(names):
            axes.plot(*curves[name], color=svg.colour(i), linewidth=2.2 if i == 0 else 1.3, zorder=3 if i == 0 else 2)
        _name_ends(axes, {name: curves[name][1][-1] for name in names if curves[name][0]}, names)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: svg.short(value)))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_xlabel("rows trained on")
        axes.set_ylabel("training NE")
        return svg.render(figure, "learning", "Normalised entropy of every model while it trains.")


def _mean_curve(curves: list[list[Record]]) -> tuple[list[float], list[float]]:
    """Mean over seeds within equal stretches of rows; each seed reports at rows of its own, some after a few rows only."""
    known = [[point for point in curve if point["ne"] is not None] for curve in curves]
    known = [curve for curve in known if curve]
    if not known:
        return [], []
    edges = np.linspace(0, min(curve[-1]["rows"] for curve in known), 1 + min(_MAX_STRETCHES, *map(len, known)))
    means = []
    for curve in known:
        rows = np.array([0, *(point["rows"] for point in curve)], dtype=float)
        sums = np.concatenate([[0.0], np.cumsum(np.diff(rows) * [point["ne"] for point in curve])])
        means.append(np.diff(np.interp(edges, rows, sums)) / np.diff(edges))
    return edges[1:].tolist(), np.mean(means, axis=0).tolist()


def _name_ends(axes: Axes, ends: dict[str, float], names: Sequence[str]) -> None:
    """Names right of the axes, moved apart, each tied to the end of its line."""
    heights = [axes.transData.transform((0, y))[1] for y in ends.values()]
    frame = axes.bbox
    for name, height, text in zip(ends, heights, spread(heights, 15, frame.y0 + 6, frame.y1 - 4), strict=True):
        i = list(names).index(name)
        axes.annotate("", (frame.x1, height), (frame.x1 + 13, text), xycoords="figure pixels", textcoords="figure pixels",
                      arrowprops={"arrowstyle": "-", "color": svg.colour(i), "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        axes.annotate(name, (frame.x1 + 16, text), xycoords="figure pixels", va="center", fontsize=11,
                      fontweight="bold" if i == 0 else "normal", annotation_clip=False)  # fmt: skip


def calibration(retrain: dict[str, list[Record]], names: Sequence[str]) -> Markup:
    """Observed over predicted click rate by bin of the prediction, `found` with the interval that its rows allow."""
    with svg.style():
        figure, axes = svg.canvas(_WIDTH, 270, left=58, right=18, top=30, bottom=44)
        axes.axhline(1, color=svg.MUTED, linewidth=1.2)
        reach = 0.02
        for i, name in enumerate(names):
            bins = _mean_bins([record["calibration_bins"] for record in retrain[name]])
            x, y = [b["predicted"] for b in bins], [b["observed"] / b["predicted"] for b in bins]
            axes.plot(
                x, y, marker=svg.marker(i), color=svg.colour(i), markersize=6, linewidth=2 if i == 0 else 1.3, label=name, zorder=3 - i
            )
            if i == 0:
                errors = [1.96 * math.sqrt(b["observed"] * (1 - b["observed"]) / b["rows"]) / b["predicted"] for b in bins]
                axes.errorbar(x, y, errors, fmt="none", color=svg.colour(i), elinewidth=1.2)
            many = min(1000, max((b["rows"] for b in bins), default=0))
            reach = max([reach, *(abs(value - 1) for value, b in zip(y, bins, strict=True) if b["rows"] >= many)])
        axes.set_ylim(1 - 1.3 * min(reach, 0.8), 1 + 1.3 * min(reach, 0.8))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        axes.set_xlabel("predicted click rate")
        axes.set_ylabel("observed / predicted")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0, handletextpad=0.5, columnspacing=1.5)
        return svg.render(figure, "calibration", "Observed over predicted click rate by bin of the prediction.")


def _mean_bins(seeds: list[list[Record]]) -> list[Record]:
    """Bins averaged over seeds, the empty ones left out."""
    bins = []
    for same in zip(*seeds, strict=False):
        filled = [b for b in same if b["rows"] and b["predicted"] and b["observed"] is not None]
        if filled:
            bins.append({field: statistics.fmean(b[field] for b in filled) for field in ("predicted", "observed", "rows")})
    return bins
