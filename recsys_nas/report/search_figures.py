"""Figures about the search: what each day wanted of each gate, what the found network costs, where the time went."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MaxNLocator

from data_prep.wording import counted
from recsys_nas.report import svg
from recsys_nas.report.quantities import count, duration, share
from recsys_nas.report.records import Record
from recsys_nas.report.sheet import Point, Sheet

_ROW, _MEAN, _HEADING = 25, 46, 22
# beyond this many days a cell is too narrow for its number
_MAX_NUMBERED_DAYS = 8


def gate_heat_map(alphas: Record) -> Markup:
    """Gate probabilities, modules down and days across, with their mean, spread and what became of them.

    A cell is the fuller the farther it lies from the threshold: a pale one is undecided.
    """
    gates, days, threshold = alphas["gates"], alphas["days"], alphas["threshold"]
    numbered = len(days) <= _MAX_NUMBERED_DAYS
    cell = 42 if numbered else max(14, 370 // len(days))
    left = 34 + max(svg.text_width(gate["module"]) for gate in gates)
    mean = left + 12 + cell * len(days)
    tops = _row_tops(gates)
    with svg.style():
        sheet = Sheet(mean + _MEAN + 126, tops[-1] + _ROW + 8)
        _day_headings(sheet, days, left, cell)
        sheet.text((mean + _MEAN / 2, _HEADING), "mean", align="center", ink=svg.MUTED)
        for i, (gate, top) in enumerate(zip(gates, tops, strict=True)):
            middle = top + _ROW / 2
            if i == 0 or gate["block"] != gates[i - 1]["block"]:
                sheet.text((4, top - 12), f"block {gate['block']}", ink=svg.MUTED)
            sheet.text((left - 10, middle), gate["module"], align="right", bold=gate["kept"])
            for j, probability in enumerate(gate["by_day"]):
                _cell(sheet, (left + cell * j, top), cell, probability, threshold)
                if numbered:
                    sheet.text((left + cell * (j + 0.5), middle), f"{probability:.2f}", align="center", size=10.5)
            _cell(sheet, (mean, top), _MEAN, gate["probability"], threshold)
            sheet.text((mean + _MEAN / 2, middle), f"{gate['probability']:.2f}", align="center", bold=True, size=10.5)
            fate = f"{'● kept' if gate['kept'] else '○ dropped'} ± {gate['std']:.2f}"
            sheet.text((mean + _MEAN + 8, middle), fate, ink=svg.INK if gate["kept"] else svg.MUTED)
        return sheet.render("gates", "Probability of every gate by day, their mean, and whether the module was kept.")


def _day_headings(sheet: Sheet, days: list[int], left: float, cell: float) -> None:
    narrow = cell < 36
    for j, day in enumerate(days):
        if not narrow or j % 4 == 0:
            sheet.text((left + cell * (j + 0.5), _HEADING), str(day) if narrow else f"day {day}", align="center", ink=svg.MUTED)


def _row_tops(gates: list[Record]) -> list[float]:
    """Top of each gate's row, with room for a heading where a block begins."""
    tops = [_HEADING + 12.0]
    for before, gate in itertools.pairwise(gates):
        tops.append(tops[-1] + _ROW + (24 if gate["block"] != before["block"] else 0))
    return tops


def _cell(sheet: Sheet, at: Point, width: float, probability: float, threshold: float) -> None:
    above = probability >= threshold
    strength = (probability - threshold) / (1 - threshold) if above else (threshold - probability) / threshold
    corner, size = (at[0] + 1.5, at[1] + 1.5), (width - 3, _ROW - 3)
    sheet.box(corner, size, edge=svg.FAINT, radius=3)
    sheet.box(corner, size, fill=svg.KEEP if above else svg.DROP, alpha=0.75 * strength, radius=3)


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
        bars.append(Bar(f"retrain {model['name']}", seconds, f"{duration(seconds)}, {counted(len(model['seeds']), 'seed')}", 1))
    return _bar_chart("time", bars, "seconds", "Seconds of each day's search and of each model's retraining.")


def module_name(cost: Record) -> str:
    """`block 1 · cross`; work outside of blocks has no number."""
    return f"block {cost['block']} · {cost['module']}" if cost.get("block") else str(cost["module"])


def _bar_chart(name: str, bars: list[Bar], unit: str, description: str) -> Markup:
    with svg.style():
        left = 14 + max(svg.text_width(bar.name) for bar in bars)
        right = 16 + max(svg.text_width(bar.label, 10.5) for bar in bars)
        figure, axes = svg.canvas(400, 52 + 23 * len(bars), left=left, right=right, top=8, bottom=44)
        for i, bar in enumerate(bars):
            axes.barh(-i, bar.value, height=0.62, color=svg.colour(bar.group))
            axes.annotate(bar.label, (bar.value, -i), (6, 0), textcoords="offset points", va="center_baseline", fontsize=10.5)
        axes.set_yticks([-i for i in range(len(bars))], [bar.name for bar in bars])
        axes.tick_params(axis="y", labelcolor=svg.INK, labelsize=11)
        axes.set_ylim(0.6 - len(bars), 0.6)
        axes.set_xlim(0, max([bar.value for bar in bars] + [1e-9]))
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: svg.short(value)))
        axes.set_xlabel(unit)
        return svg.render(figure, name, description)
