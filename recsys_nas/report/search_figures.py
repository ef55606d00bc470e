"""Figures about the search: what each day wanted of each gate, what the found network costs, where the time went."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from recsys_nas.report import svg
from recsys_nas.report.quantities import count, duration, share
from recsys_nas.report.records import Record

_ROW = 25
# beyond this many days a cell is too narrow for its number
_MAX_NUMBERED_DAYS = 8


def gate_heat_map(alphas: Record) -> Markup:
    """Gate probabilities, modules down and days across, with their mean, spread and what became of them.

    A cell is the fuller the farther it lies from the threshold: a pale one is undecided.
    """
    gates, days, threshold = alphas["gates"], alphas["days"], alphas["threshold"]
    cell = 46 if len(days) <= _MAX_NUMBERED_DAYS else max(14, 370 // len(days))
    names = max(svg.text_width(gate["module"], 11) for gate in gates)
    left, mean = 34 + names, 12 + cell * len(days)
    width = left + mean + 46 + 150
    tops = _row_tops(gates)
    height = 34 + tops[-1] + _ROW + 8
    with svg.style():
        figure, axes = svg.canvas(width, height)
        _blank(axes, width, height)
        for j, day in enumerate(days):
            if len(days) <= 12 or j % 4 == 0:
                _text(axes, left + cell * (j + 0.5), 22, f"day {day}" if len(days) <= 12 else str(day), ha="center", color=svg.MUTED)
        _text(axes, left + mean + 23, 22, "mean", ha="center", color=svg.MUTED)
        for i, gate in enumerate(gates):
            y = 34 + tops[i]
            if i == 0 or gate["block"] != gates[i - 1]["block"]:
                _text(axes, 4, y - 12 if i else 22, f"block {gate['block']}", color=svg.MUTED)
            _text(axes, left - 10, y + _ROW / 2, gate["module"], ha="right", weight="bold" if gate["kept"] else "normal")
            for j, probability in enumerate(gate["by_day"]):
                _cell(axes, left + cell * j, y, cell, probability, threshold, numbered=len(days) <= _MAX_NUMBERED_DAYS)
            _cell(axes, left + mean, y, 46, gate["probability"], threshold, numbered=True, bold=True)
            fate = "● kept" if gate["kept"] else "○ dropped"
            _text(axes, left + mean + 56, y + _ROW / 2, f"{fate}, ± {gate['std']:.2f}", color=svg.INK if gate["kept"] else svg.MUTED)
        return svg.render(figure, "gates", "Probability of every gate by day, their mean, and whether the module was kept.")


def _row_tops(gates: list[Record]) -> list[float]:
    """Top of each gate's row, with room for a heading where a block begins."""
    tops = [0.0]
    for before, gate in zip(gates, gates[1:], strict=False):
        tops.append(tops[-1] + _ROW + (24 if gate["block"] != before["block"] else 0))
    return tops


def _cell(axes: Axes, x: float, y: float, width: float, probability: float, threshold: float, *, numbered: bool, bold: bool = False) -> None:
    above = probability >= threshold
    strength = (probability - threshold) / (1 - threshold) if above else (threshold - probability) / threshold
    axes.add_patch(
        FancyBboxPatch(
            (x + 1.5, y + 1.5), width - 3, _ROW - 3, boxstyle="round,pad=0,rounding_size=3", linewidth=0.8, edgecolor=svg.FAINT,
            facecolor="none",
        )
    )  # fmt: skip
    axes.add_patch(
        FancyBboxPatch(
            (x + 1.5, y + 1.5), width - 3, _ROW - 3, boxstyle="round,pad=0,rounding_size=3", linewidth=0,
            facecolor=svg.KEEP if above else svg.DROP, alpha=0.75 * strength,
        )
    )  # fmt: skip
    if numbered:
        _text(axes, x + width / 2, y + _ROW / 2, f"{probability:.2f}", ha="center", weight="bold" if bold else "normal", size=10.5)


@dataclass(frozen=True)
class Bar:
    """One bar of a horizontal bar chart; `group` picks its colour."""

    name: str
    value: float
    label: str
    group: int


def cost_by_module(found: Record, module_costs: list[Record]) -> Markup:
    """Dense FLOPs of each module of the found network, whatever is left over, and the pooling of lookups beside them."""
    total = found["dense_flops"] or 1
    bars = [Bar(module_name(cost), cost["flops"], f"{count(cost['flops'])}, {share(cost['flops'] / total)}", 0) for cost in module_costs]
    rest = found["dense_flops"] - sum(cost["flops"] for cost in module_costs)
    if rest > 0:
        bars.append(Bar("all else dense", rest, f"{count(rest)}, {share(rest / total)}", 0))
    lookups = f"{count(found['lookup_flops'])}, reads {count(found['lookup_bytes'], 'B')}"
    bars.append(Bar("embedding lookups", found["lookup_flops"], lookups, 1))
    return _bar_chart("cost", bars, "FLOPs per example", "Dense FLOPs of each module of the found network, and of its lookups.")


def time_spent(results: Record) -> Markup:
    """Seconds of each day's search and of each model's retraining, all seeds together."""
    bars = [Bar(f"search, day {day['day']}", day["seconds"], duration(day["seconds"]), 0) for day in results["search"]["by_day"]]
    for model in results["models"]:
        seconds = model["train_seconds"] * len(model["seeds"])
        seeds = f"{len(model['seeds'])} seeds" if len(model["seeds"]) > 1 else "1 seed"
        bars.append(Bar(f"retrain {model['name']}", seconds, f"{duration(seconds)}, {seeds}", 1))
    return _bar_chart("time", bars, "seconds", "Seconds of each day's search and of each model's retraining.")


def module_name(cost: Record) -> str:
    """`block 1 · cross`; work outside of blocks has no number."""
    return f"block {cost['block']} · {cost['module']}" if cost.get("block") else str(cost["module"])


def _bar_chart(name: str, bars: list[Bar], unit: str, description: str) -> Markup:
    with svg.style():
        left = 14 + max(svg.text_width(bar.name) for bar in bars)
        right = 16 + max(svg.text_width(bar.label, 10.5) for bar in bars)
        figure, axes = svg.canvas(480, 52 + 23 * len(bars), left=left, right=right, top=8, bottom=44)
        for i, bar in enumerate(bars):
            axes.barh(-i, bar.value, height=0.62, color=svg.colour(bar.group))
            axes.annotate(bar.label, (bar.value, -i), (6, 0), textcoords="offset points", va="center_baseline", fontsize=10.5)
        axes.set_yticks([-i for i in range(len(bars))], [bar.name for bar in bars])
        axes.tick_params(axis="y", labelcolor=svg.INK, labelsize=11)
        axes.set_ylim(0.6 - len(bars), 0.6)
        axes.set_xlim(0, max([bar.value for bar in bars] + [1e-9]))
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: svg.short(value)))
        axes.set_xlabel(unit)
        return svg.render(figure, name, description)


def _blank(axes: Axes, width: float, height: float) -> None:
    """Axes in pixels from the upper left corner, with nothing drawn."""
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")


def _text(axes: Axes, x: float, y: float, text: str, *, ha: str = "left", color: str = svg.INK, weight: str = "normal", size: float = 11) -> None:
    axes.text(x, y, text, ha=ha, va="center_baseline", color=color, fontweight=weight, fontsize=size)
