"""Places names beside the things they name, so that figures need no legend and labels do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        height = min(self.bottom + self.height, other.bottom + other.height) - max(self.bottom, other.bottom)
        return max(width, 0) * max(height, 0)


def place(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], area: Box, obstacles: Sequence[Box]) -> list[Box]:
    """A box of each size beside each point, all in pixels: greedily where it covers least of what is already there."""
    marks = [Box(x - 5, y - 5, 10, 10) for x, y in points]
    placed: list[Box] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        taken = [*marks, *obstacles, *placed]

        def covered(box: Box, taken: list[Box] = taken) -> float:
            outside = box.width * box.height - box.overlap(area)
            return 4 * outside + sum(box.overlap(other) for other in taken)

        placed.append(min(_candidates(x, y, width, height), key=covered))
    return placed


def _candidates(x: float, y: float, width: float, height: float) -> list[Box]:
    """Places around a point, the best liked first: right, left, above, below, then farther out."""
    right, left, centre = x + 9, x - 9 - width, x - width / 2
    near = [(right, y - height / 2), (left, y - height / 2), (centre, y + 8), (centre, y - 8 - height)]
    slanted = [(side, y + rise) for rise in (4, -4 - height) for side in (right - 2, left + 2)]
    far = [(side, y + rise) for rise in (14, -14 - height) for side in (right, left, centre)]
    return [Box(a, b, width, height) for a, b in (*near, *slanted, *far)]


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions on a line apart to at least `gap`, as little as possible (least squares), within `low` and `high`.

    Less `gap` a rank, the task is isotonic regression: neighbours out of order merge into groups at their mean.
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    groups: list[tuple[float, int]] = []
    for rank, i in enumerate(order):
        total, size = positions[i] - gap * rank, 1
        while groups and groups[-1][0] / groups[-1][1] > total / size:
            total, size = total + groups[-1][0], size + groups[-1][1]
            groups.pop()
        groups.append((total, size))
    highest = max(low, high - gap * (len(order) - 1))
    levels = [min(max(total / size, low), highest) for total, size in groups for _ in range(size)]
    moved = [0.0] * len(positions)
    for rank, i in enumerate(order):
        moved[i] = levels[rank] + gap * rank
    return moved
