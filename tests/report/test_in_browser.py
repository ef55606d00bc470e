"""report.html as Chromium shows it, wide and narrow, light and dark: figures and table against results.json, no label over another.

Skipped where there is no Chromium. The page itself runs no script: the measuring one is added to a copy of it.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recsys_nas.report.page import write_report
from recsys_nas.report.quantities import count
from tests.report.fabricated_run import add_controls, fabricate

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to open the report in")

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars")  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
DESKTOP, PHONE = 1280, 390

MEASURE = """
<script>
const rgb = text => (text.match(/[\\d.]+/g) || [0, 0, 0]).slice(0, 3).map(Number);
const luminance = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const card = rgb(getComputedStyle(document.querySelector("section")).backgroundColor);
const figures = [...document.querySelectorAll("figure svg")].map(svg => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map(t => ({text: t.textContent.trim(), box: t.getBoundingClientRect(),
    contrast: contrast(rgb(getComputedStyle(t).fill), card)}));
  const overlaps = [];
  texts.forEach((a, i) => texts.slice(i + 1).forEach(b => {
    const width = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const height = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (width > 1 && height > 3) overlaps.push([a.text, b.text]);
  }));
  const outside = texts.filter(t => t.box.left < frame.left - 2 || t.box.right > frame.right + 2).map(t => t.text);
  return {width: frame.width, texts: texts.map(t => t.text), overlaps, outside, contrast: Math.min(...texts.map(t => t.contrast))};
});
const rows = [...document.querySelectorAll("table.results tbody tr")].map(r => [...r.children].map(c => c.innerText));
const body = {width: innerWidth, scroll: document.documentElement.scrollWidth, ink: getComputedStyle(document.body).color,
  page: getComputedStyle(document.body).backgroundColor, heading: document.querySelector("h1").innerText};
const out = document.createElement("pre"); out.id = "measured"; out.textContent = JSON.stringify({figures, rows, body});
document.body.append(out);
</script>
"""


def open_page(report: Path, folder: Path, width: int, scheme: str) -> dict[str, Any]:
    """What the page measures of itself in a window of this width."""
    assert CHROMIUM is not None
    copy = folder / "measured.html"
    copy.write_text(report.read_text(encoding="utf-8").replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, scheme, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom", copy.as_uri()]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="measured">(.*?)</pre>', finished.stdout, re.DOTALL)
    assert found is not None, finished.stderr
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of five models, with random networks and a sweep over prices."""
    run = fabricate(tmp_path_factory.mktemp("runs") / "demo")
    add_controls(run)
    write_report(run)
    return run


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, LIGHT), (PHONE, DARK)], ids=["wide and light", "narrow and dark"])
def test_nothing_overlaps_or_is_cut_off_and_all_can_be_read(run: Path, tmp_path: Path, width: int, scheme: str) -> None:
    measured = open_page(run / "report.html", tmp_path, width, scheme)
    body = measured["body"]
    assert body["scroll"] <= body["width"], "the page scrolls sideways"
    light = [int(value) for value in re.findall(r"\d+", body["page"])[:3]] > [128, 128, 128]
    assert light == (scheme == LIGHT)
    assert len(measured["figures"]) == 8
    for figure in measured["figures"]:
        assert figure["overlaps"] == []
        assert figure["outside"] == []
        assert figure["contrast"] >= 4.5


def test_table_and_figures_hold_what_results_json_says(run: Path, tmp_path: Path) -> None:
    measured = open_page(run / "report.html", tmp_path, DESKTOP, LIGHT)
    results = json.loads((run / "results.json").read_text())
    alphas = json.loads((run / "alphas.json").read_text())
    rows = {row[0]: [cell.replace("\u00a0", " ") for cell in row] for row in measured["rows"]}
    assert rows["random, mean of 8"][1].startswith(f"{results['random']['auc_mean']:.4f} ± ")
    for model in results["models"]:
        assert rows[model["name"]][1] == f"{model['auc']:.4f} ± {model['auc_ci95']:.4f}"
        assert rows[model["name"]][6] == count(model["dense_flops"])
    pareto, differences = measured["figures"][:2]
    named = {model["name"] for model in results["models"]}
    assert named <= set(pareto["texts"])
    assert named - {"found"} <= set(differences["texts"])
    gates = measured["figures"][3]["texts"]
    for gate in alphas["gates"]:
        assert f"{'● kept' if gate['kept'] else '○ dropped'} ± {gate['std']:.2f}" in gates
