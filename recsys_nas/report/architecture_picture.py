"""Draws a derived network: its blocks with the modules kept and dropped, what each reads, and what each costs.

Every source has a lane at the left; an arrow leaves the lane for each block that reads it. So any wiring stays legible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from recsys_nas.report import svg
from recsys_nas.report.mermaid import makes, stem
from recsys_nas.report.quantities import share
from recsys_nas.report.records import Record
from recsys_nas.report.sheet import Point, Sheet
from recsys_nas.space import CATALOGUE, Architecture, Block

_LANE, _BOX, _GAP, _LINE, _PAD, _WIRE = 15, 116, 8, 58, 10, 9
_GROWTH = 60
"""Pixels that a module with all of the FLOPs is higher than one with none."""
_PER_LINE = 3


@dataclass(frozen=True)
class _Module:
    """One box: `gate` is its record in the aggregate, `cost` its share of the dense FLOPs; None where there is none."""

    name: str
    gate: Record | None
    cost: float | None
    kept: bool

    @property
    def height(self) -> float:
        """Modules are the higher the more they cost; those dropped are all the same."""
        return _LINE - 8 + (_GROWTH * min(self.cost or 0, 1) if self.kept else 0)


def _line_height(line: list[_Module]) -> float:
    return 8 + max(module.height for module in line)


@dataclass(frozen=True)
class _Card:
    """A stem, block or head: `lines` of modules, and the `sources` it reads, by number of card."""

    title: str
    lines: list[list[_Module]]
    sources: tuple[int, ...]
    number: int

    @property
    def height(self) -> float:
        wired = 20 + _WIRE * len(self.sources)
        return max(32 + sum(map(_line_height, self.lines)) + (4 if self.lines else 0), wired)


def space_blocks(architecture: Architecture, alphas: Record) -> tuple[int, ...]:
    """The number in the search space of each block of `architecture`, whose empty blocks were left out when it was derived.

    An architecture that is not the one these gates stand for, say one edited by hand, keeps its own numbers.
    """
    kept: dict[int, set[str]] = {}
    for gate in alphas["gates"]:
        if gate["kept"]:
            kept.setdefault(gate["block"], set()).add(gate["module"])
    numbers = tuple(sorted(kept))
    if [kept[number] for number in numbers] == [set(_names(block)) for block in architecture.blocks]:
        return numbers
    return tuple(range(1, len(architecture.blocks) + 1))


def architecture_picture(architecture: Architecture, alphas: Record, module_costs: list[Record], dense_flops: float) -> Markup:
    """The network top down. A module is the higher, and its bar the longer, the larger its share of `dense_flops`; under its name
    stands how it raises the order of interactions (`recsys_nas.space.modules`). Modules that the search dropped are dashed.

    `module_costs` and all numbers in the picture count blocks as the search space does.
    """
    gates = {(gate["block"], gate["module"]): gate for gate in alphas["gates"]}
    costs = {(cost["block"], cost["module"]): cost["flops"] / (dense_flops or 1) for cost in module_costs}

    def module(number: int, name: str, kept: bool) -> _Module:
        return _Module(name, gates.get((number, name)), costs.get((number, name)), kept)

    cards = _cards(architecture, alphas, space_blocks(architecture, alphas), module)
    left = 14 + _LANE * (len(cards) - 1)
    width = left + 2 * _PAD + _PER_LINE * (_BOX + _GAP) - _GAP + 6
    height = sum(card.height + 18 for card in cards) - 8
    with svg.style():
        sheet = Sheet(width, height)
        tops = [4.0]
        for card in cards:
            sheet.box((left, tops[-1]), (width - left - 6, card.height), edge=svg.MUTED, radius=7)
            sheet.text((left + _PAD, tops[-1] + 16), card.title, bold=bool(card.lines), size=11.5)
            top = tops[-1] + 30
            for line in card.lines:
                for column, drawn in enumerate(line):
                    _draw_module(sheet, (left + _PAD + column * (_BOX + _GAP), top), drawn)
                top += _line_height(line)
            tops.append(tops[-1] + card.height + 18)
        _draw_wires(sheet, cards, tops, left, skip=architecture.linear_skip)
        return sheet.render("architecture", _describe(cards))


def _cards(
    architecture: Architecture, alphas: Record, numbers: tuple[int, ...], module: Callable[[int, str, bool], _Module]
) -> list[_Card]:
    """One card a block of the search space, also for those that keep nothing, between the stem and the head."""
    cards = [_Card(f"stem: {stem(architecture)}", [], (), 0)]
    searched: dict[int, list[str]] = {number: [] for number in numbers}
    for gate in alphas["gates"]:
        searched.setdefault(gate["block"], []).append(gate["module"])
    for number in sorted(searched):
        block = architecture.blocks[numbers.index(number)] if number in numbers else Block()
        kept = _names(block)
        names = [*kept, *(name for name in searched[number] if name not in kept)]
        modules = [module(number, name, name in kept) for name in names]
        lines = [modules[i : i + _PER_LINE] for i in range(0, len(modules), _PER_LINE)]
        title = f"block {number}: {makes(block) or 'nothing kept'}"
        cards.append(_Card(title, lines, _renumber(block.sources, numbers), number))
    skip = ", linear skip from the stem" if architecture.linear_skip else ""
    return [*cards, _Card(f"head: one logit{skip}", [], _renumber(architecture.head, numbers), len(cards))]


def _names(block: Block) -> list[str]:
    return [module.name for module in block.modules]


def _renumber(sources: tuple[int, ...], numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(numbers[source - 1] if source else 0 for source in sources)


def _draw_module(sheet: Sheet, corner: Point, module: _Module) -> None:
    x, y = corner
    size = (_BOX, module.height)
    ink = svg.INK if module.kept else svg.MUTED
    if module.kept:
        bar = y + size[1] - 6
        full = _BOX - 16
        sheet.box(corner, size, fill=svg.KEEP, alpha=0.22)
        sheet.box(corner, size, edge=svg.KEEP)
        sheet.line([(x + 8, bar), (x + 8 + full, bar)], svg.FAINT, width=3.5)
        sheet.line([(x + 8, bar), (x + 8 + full * min(module.cost or 0, 1), bar)], svg.KEEP, width=3.5)
    else:
        sheet.box(corner, size, edge=svg.MUTED, dashed=True)
    sheet.text((x + 8, y + 11), module.name, ink=ink, bold=module.kept)
    if module.name in CATALOGUE:
        sheet.text((x + 8, y + 23), f"order {CATALOGUE[module.name].order}", ink=ink, size=10)
    if module.gate:
        sheet.text((x + 8, y + 35), f"p {module.gate['probability']:.2f}", ink=ink, size=10)
    fate = "dropped" if not module.kept else "" if module.cost is None else share(module.cost)
    sheet.text((x + _BOX - 8, y + 35), fate, ink=ink, size=10, align="right")


def _draw_wires(sheet: Sheet, cards: list[_Card], tops: list[float], left: float, *, skip: bool) -> None:
    """One lane a source, from its card down to the last card that reads it."""
    head = len(cards) - 1
    for source in range(head):
        readers = [card for card in cards if source in card.sources]
        x, y = left - 12 - _LANE * (head - 1 - source), tops[source] + cards[source].height - 8
        ink = svg.colour(source)
        # reads enter a card in the order of their lanes, so that no two arrows share a height
        ends = [tops[card.number] + 10 + _WIRE * card.sources.index(source) for card in readers]
        bottom = max(ends, default=y)
        if skip and source == 0 and source not in cards[head].sources:
            ends.append(tops[head] + cards[head].height - 8)
            sheet.line([(x, bottom), (x, ends[-1])], ink, dashed=True)
        if ends:
            sheet.line([(left, y), (x, y), (x, bottom)], ink)
        for end in ends:
            sheet.arrow((x, end), (left, end), ink)


def _describe(cards: list[_Card]) -> str:
    """The same picture in words."""
    blocks = (
        f"block {card.number}: {', '.join(sorted(module.name for line in card.lines for module in line if module.kept)) or 'nothing'}"
        for card in cards[1:-1]
    )
    return f"The found network. {'; '.join(blocks)}."
