"""Colours of models, and of kept and dropped, stay apart for those who lack a kind of cone, on the light page and on the dark one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

CSS = (Path(__file__).resolve().parents[2] / "recsys_nas" / "report" / "report.css").read_text(encoding="utf-8")
LIGHT, DARK = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)

# in linear RGB, at full severity: Machado, Oliveira and Fernandes, 2009
SIMULATED = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
SEEN_APART = 20.0
"""CIE 1976 distance; about 2.3 is just noticeable side by side. Markers and names tell models apart as well."""


def variables(sheet: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", sheet))


def lab(colour: str, seen_by: NDArray[np.float64]) -> NDArray[np.float64]:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(seen_by @ linear, 0, 1) / (TO_XYZ @ np.ones(3))
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", SIMULATED)
@pytest.mark.parametrize("sheet", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_seen_apart(sheet: str, eyes: str) -> None:
    colours = variables(sheet)
    models = [colours[f"series-{i}"] for i in range(5)]
    pairs = [*itertools.combinations(models, 2), (colours["keep"], colours["drop"]), (colours["good"], colours["caution"])]
    near = {pair: float(np.linalg.norm(lab(pair[0], SIMULATED[eyes]) - lab(pair[1], SIMULATED[eyes]))) for pair in pairs}
    assert min(near.values()) >= SEEN_APART, min(near.items(), key=lambda item: item[1])
