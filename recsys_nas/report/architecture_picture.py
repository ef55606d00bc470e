"""Draws a derived network: its blocks with the modules kept and dropped, what each reads, and what each costs.

Every source has a lane at the left; an arrow leaves the lane for each block that reads it. So any wiring stays legible.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from recsys_nas.report import svg
from recsys_nas.report.quantities import share
from recsys_nas.report.records import Record
from recsys_nas.space import Architecture

_LANE, _BOX, _GAP, _LINE, _PAD, _WIRE = 15, 116, 8, 50, 10, 9
_PER_LINE = 4


@dataclass(frozen=True)
class _Card:
    """A stem, block or head: `lines` of modules, and the `sources` it reads (none for the stem)."""

    title: str
    lines: list[list[str]]
    sources: tuple[int, ...]
    number: int

    @property
    def height(self) -> float:
        wired = 20 + _WIRE * len(self.sources)
        return max(32 + _LINE * len(self.lines) + (4 if self.lines else 0), wired)


def architecture_picture(architecture: Architecture, alphas: Record, module_costs: list[Record], dense_flops: float) -> Markup:
    """The network top down. A module's bar is its share of `dense_flops`; modules that the search dropped are dashed."""
    gates = {(gate["block"], gate["module"]): gate for gate in alphas["gates"]}
    costs = {(cost["block"], cost["module"]): cost["flops"] / (dense_flops or 1) for cost in module_costs}
    cards = _cards(architecture, gates)
    left = 14 + _LANE * (len(architecture.blocks) + 1)
    width = left + 2 * _PAD + _PER_LINE * (_BOX + _GAP) - _GAP + 6
    height = sum(card.height + 18 for card in cards) - 8
    with svg.style():
        figure, axes = svg.canvas(width, height)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.axis("off")
        top = 4.0
        tops = []
        for card in cards:
            tops.append(top)
            _draw_card(axes, card, left, top, width - left - 6)
            for row, line in enumerate(card.lines):
                for column, module in enumerate(line):
                    corner = (left + _PAD + column * (_BOX + _GAP), top + 30 + row * _LINE)
                    kept = module in architecture.blocks[card.number - 1].modules
                    _draw_module(axes, corner, module, gates.get((card.number, module)), costs.get((card.number, module)), kept=kept)
            top += card.height + 18
        _draw_wires(axes, cards, tops, left, skip=architecture.linear_skip)
        return svg.render(figure, "architecture", _describe(architecture))


def _cards(architecture: Architecture, gates: dict[tuple[int, str], Record]) -> list[_Card]:
    tokens = f"{architecture.num_sparse} embeddings of {architecture.embedding_dim}"
    cards = [_Card(f"stem: {architecture.num_dense} numbers, {tokens}", [], (), 0)]
    for number, block in enumerate(architecture.blocks, start=1):
        dropped = [module for (of, module) in gates if of == number and module not in block.modules]
        modules = [*block.modules, *dropped]
        lines = [modules[i : i + _PER_LINE] for i in range(0, len(modules), _PER_LINE)]
        made = [f"{block.dense_width} features"] * bool(block.dense) + [f"{block.num_tokens} tokens"] * bool(block.sparse)
        cards.append(_Card(f"block {number}: " + (" and ".join(made) or "nothing kept"), lines, block.sources, number))
    skip = ", linear skip from the stem" if architecture.linear_skip else ""
    cards.append(_Card(f"head: one logit{skip}", [], architecture.head, len(cards)))
    return cards


def _draw_card(axes: Axes, card: _Card, left: float, top: float, width: float) -> None:
    shape = "round,pad=0,rounding_size=7"
    axes.add_patch(FancyBboxPatch((left, top), width, card.height, boxstyle=shape, facecolor="none", edgecolor=svg.MUTED, linewidth=1.1))
    axes.text(left + _PAD, top + 16, card.title, va="center_baseline", fontsize=11.5, fontweight="bold" if card.lines else "normal")


def _draw_module(axes: Axes, corner: tuple[float, float], module: str, gate: Record | None, cost: float | None, *, kept: bool) -> None:
    x, y = corner
    shape = "round,pad=0,rounding_size=5"
    height = _LINE - 8
    if kept:
        axes.add_patch(FancyBboxPatch((x, y), _BOX, height, boxstyle=shape, linewidth=0, facecolor=svg.KEEP, alpha=0.22))
        axes.add_patch(FancyBboxPatch((x, y), _BOX, height, boxstyle=shape, facecolor="none", edgecolor=svg.KEEP, linewidth=1.3))
        axes.plot([x + 8, x + _BOX - 8], [y + height - 6] * 2, color=svg.FAINT, linewidth=3.5, solid_capstyle="butt")
        axes.plot([x + 8, x + 8 + (_BOX - 16) * min(cost or 0, 1)], [y + height - 6] * 2, color=svg.KEEP, linewidth=3.5, solid_capstyle="butt")
    else:
        axes.add_patch(
            FancyBboxPatch((x, y), _BOX, height, boxstyle=shape, facecolor="none", edgecolor=svg.MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
        )
    notes = [f"p {gate['probability']:.2f}"] if gate else []
    notes += ["dropped"] if not kept else [] if cost is None else [f"{share(cost)} of FLOPs"]
    axes.text(x + 8, y + 11, module, va="center_baseline", fontsize=11, color=svg.INK if kept else svg.MUTED, fontweight="bold" if kept else "normal")
    axes.text(x + 8, y + 25, ", ".join(notes), va="center_baseline", fontsize=9.5, color=svg.INK if kept else svg.MUTED)


def _draw_wires(axes: Axes, cards: list[_Card], tops: list[float], left: float, *, skip: bool) -> None:
    """One lane a source, from its card down to the last card that reads it."""
    head = len(cards) - 1
    for source in range(head):
        readers = [card for card in cards if source in card.sources]
        dashed = source == 0 and skip and source not in cards[head].sources
        if not readers and not dashed:
            continue
        x, y = left - 12 - _LANE * (head - 1 - source), tops[source] + cards[source].height - 8
        colour = svg.colour(source)
        # reads enter a card in the order of their lanes, so that no two arrows share a height
        ends = [tops[card.number] + 10 + _WIRE * card.sources.index(source) for card in readers]
        bottom = max(ends, default=y)
        axes.plot([left, x, x], [y, y, bottom], color=colour, linewidth=1.5, solid_joinstyle="round")
        if dashed:
            end = tops[head] + cards[head].height - 8
            axes.plot([x, x], [bottom, end], color=colour, linewidth=1.5, linestyle=(0, (3, 2)))
            ends.append(end)
        for end in ends:
            axes.annotate("", (left, end), (x, end), arrowprops={"arrowstyle": "-|>,head_width=0.22,head_length=0.4", "color": colour,
                          "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0})  # fmt: skip


def _describe(architecture: Architecture) -> str:
    blocks = (f"block {i}: {', '.join(block.modules) or 'nothing'}" for i, block in enumerate(architecture.blocks, start=1))
    return f"The found network. {'; '.join(blocks)}."
