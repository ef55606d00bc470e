"""A picture of how the gates of one job came to their probabilities: modules down, steps across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data_prep.wording import counted
from recsys_nas.report.svg import DROP, KEEP

# orange for dropped, blue for kept, white between them: apart for every common colour blindness
_COLOURS = LinearSegmentedColormap.from_list("gates", [DROP, "#ffffff", KEEP])
_MAX_NAMED = 60


def gate_history(records: Sequence[Mapping[str, float]]) -> NDArray[np.uint8]:
    """An image `[H, W, 3]` of records with `step` and the probability of each gate by name; white is one half."""
    names = [name for name in records[-1] if name != "step"]
    values = np.array([[record.get(name, np.nan) for record in records] for name in names])
    steps = np.array([record["step"] for record in records], dtype=float)
    edges = np.concatenate([[0.0], steps])
    named = len(names) <= _MAX_NAMED
    figure = Figure(figsize=(5.2, 0.9 + (0.22 if named else 0.05) * len(names)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), values, cmap=_COLOURS, vmin=0, vmax=1)
    axes.invert_yaxis()
    axes.set_xlabel("step")
    if named:
        axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=9)
    else:
        axes.set_ylabel(f"{counted(len(names), 'gate')}, in order of blocks")
    figure.colorbar(mesh, ax=axes, label="probability")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
