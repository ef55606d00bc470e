"""A sheet to draw diagrams on in CSS pixels, counted from the upper left corner; rendered as any other figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from markupsafe import Markup
from matplotlib.patches import FancyBboxPatch

from recsys_nas.report import svg

Point = tuple[float, float]


class Sheet:
    """An empty drawing of this size. Use it inside of `svg.style()`."""

    def __init__(self, width: float, height: float) -> None:
        self._figure, self._axes = svg.canvas(width, height)
        self._axes.set_xlim(0, width)
        self._axes.set_ylim(height, 0)
        self._axes.axis("off")

    def text(
        self,
        at: Point,
        text: str,
        *,
        align: Literal["left", "center", "right"] = "left",
        ink: str = svg.INK,
        bold: bool = False,
        size: float = 11,
    ) -> None:
        """Write a line of text whose middle lies at the height of `at`."""
        self._axes.text(*at, text, ha=align, va="center_baseline", color=ink, fontweight="bold" if bold else "normal", fontsize=size)

    def box(
        self, at: Point, size: Point, *, fill: str = "none", edge: str = "none", alpha: float = 1, dashed: bool = False, radius: float = 5
    ) -> None:
        """Draw a rounded rectangle with its upper left corner at `at`."""
        patch = FancyBboxPatch(at, *size, boxstyle=f"round,pad=0,rounding_size={radius}", facecolor=fill, edgecolor=edge, alpha=alpha)
        patch.set_linewidth(1.1 if edge != "none" else 0)
        patch.set_linestyle((0, (3, 3)) if dashed else "-")
        self._axes.add_patch(patch)

    def line(self, points: Sequence[Point], ink: str, *, width: float = 1.5, dashed: bool = False) -> None:
        """Join the points."""
        style = (0, (3, 2)) if dashed else "-"
        self._axes.plot(*zip(*points, strict=True), color=ink, linewidth=width, linestyle=style, solid_capstyle="butt")

    def arrow(self, start: Point, end: Point, ink: str) -> None:
        """A straight line with a head at its end."""
        style = {"arrowstyle": "-|>,head_width=0.22,head_length=0.4", "color": ink, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
        self._axes.annotate("", end, start, arrowprops=style)

    def render(self, name: str, description: str) -> Markup:
        """The sheet as inline SVG; see `svg.render`."""
        return svg.render(self._figure, name, description)
