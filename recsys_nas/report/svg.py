"""Turns matplotlib figures into inline SVG that follows the page: its font, its colours in light and dark, its ids.

Figures are drawn in CSS pixels and in the light colours below; every one of them becomes a CSS variable with that colour
as its fallback, so the style sheet alone decides how a figure looks in the dark. Output is the same for the same input.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from recsys_nas.report.quantities import count

INK = "#1b1f24"
MUTED = "#626b76"
FAINT = "#d5dae1"
CARD = "#fefefe"
KEEP = "#3f8fd0"
DROP = "#e08a3c"
# the first five are apart for every common colour blindness (tests/report/test_colours.py); the first is always the found model
SERIES = ("#0072b2", "#a33c00", "#c08a00", "#7a1f5c", "#332288", "#3a9fd6", "#7a7f87")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_VARIABLES = {INK: "ink", MUTED: "muted", FAINT: "faint", CARD: "card", KEEP: "keep", DROP: "drop"} | {
    colour: f"series-{number}" for number, colour in enumerate(SERIES)
}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "font.size": 11,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "xtick.major.pad": 7,  # clear of the lowest number of the other axis
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 1.6,
}


@contextmanager
def style() -> Iterator[None]:
    """The look shared by all figures; draw and render inside of it."""
    with matplotlib.rc_context(_STYLE):
        yield


def canvas(width: float, height: float, left: float = 0, right: float = 0, top: float = 0, bottom: float = 0) -> tuple[Figure, Axes]:
    """A figure of this size with one set of axes inside these margins, all in CSS pixels. Matplotlib's pyplot stays out of it."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure, figure.add_axes(box)


def text_width(text: str, size: float = 11) -> float:
    """About how many pixels `text` takes in a common sans-serif font of `size` pixels."""
    return len(text) * size * 0.56


def short(value: float) -> str:
    """An axis label: `200 k` rather than `200.00 k`."""
    if 0 < abs(value) < 10:
        return f"{value:g}"
    number, _, prefix = count(value).partition(" ")
    trimmed = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{trimmed} {prefix}".rstrip()


def colour(index: int) -> str:
    """The colour of the model at `index`; past the end of the palette all models share the last one."""
    return SERIES[min(index, len(SERIES) - 1)]


def marker(index: int) -> str:
    """The marker of the model at `index`, as `colour`."""
    return MARKERS[min(index, len(MARKERS) - 1)]


def stand_alone(figure: Figure, name: str) -> str:
    """The figure as a file of its own, with fixed colours on white; the same bytes every time."""
    figure.set_facecolor(CARD)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file.getvalue()


def render(figure: Figure, name: str, description: str) -> Markup:
    """The figure as one `<svg>` element. `name` keeps its ids apart from other figures'; `description` is read to the blind."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|font-family: [^;]*; ", "", svg, flags=re.DOTALL)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda match: _variable(match.group()), svg)
    svg = re.sub(r'id="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    width, height = (round(side * 72) for side in figure.get_size_inches())
    opening = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(description, quote=True)}">'
    )
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1))


def _variable(hexadecimal: str) -> str:
    variable = _VARIABLES.get(hexadecimal)
    return f"var(--{variable}, {hexadecimal})" if variable else hexadecimal
