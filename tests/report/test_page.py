"""report.html says what results.json says, loads nothing, and survives hostile names and odd runs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from recsys_nas.config import ConfigError, SpaceConfig
from recsys_nas.report.page import write_report
from recsys_nas.report.quantities import count, signed
from recsys_nas.report.results import write_results
from tests.report.conftest import MakeRun
from tests.report.fabricated_run import MODELS, write

VOID = {"meta", "br", "link", "img", "input", "hr"}


@dataclass
class Page(HTMLParser):
    """What the tests ask of the page: table rows, tags with attributes, ids, visible text; and that every tag is closed."""

    rows: list[list[str]] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    open_tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open_tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        data = data.replace("\u00a0", " ")
        self.text += data
        if {"td", "th"} & set(self.open_tags):
            self.rows[-1][-1] += data


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open_tags == []
    return page


def report(run: Path) -> Page:
    write_results(run)
    return read(write_report(run))


def test_the_table_holds_the_figures_of_results_json(make_run: MakeRun) -> None:
    run = make_run()
    rows = {row[0]: row[1:] for row in report(run).rows}
    results = json.loads((run / "results.json").read_text())
    for model in results["models"]:
        assert rows[model["name"]] == [
            f"{model['auc']:.4f} ± {model['auc_ci95']:.4f}",
            f"{signed(model['vs_found']['auc_diff'])} ± {model['vs_found']['auc_diff_ci95']:.4f}" if "vs_found" in model else "",
            f"{model['logloss']:.4f}",
            f"{model['ne']:.4f}",
            f"{model['calibration']:.3f}",
            *(count(model[cost]) for cost in ("dense_flops", "lookup_flops", "lookup_bytes", "dense_params")),
            f"{model['train_seconds']:.1f}",
        ]
    assert rows["Bayes-optimal"][0] == f"{results['bayes']['auc']:.4f}"


def test_figures_show_the_records_of_the_run(make_run: MakeRun) -> None:
    run = make_run()
    page = report(run)
    alphas = json.loads((run / "alphas.json").read_text())
    for gate in alphas["gates"]:
        assert f"{gate['probability']:.2f}" in page.text
        assert f"{'● kept' if gate['kept'] else '○ dropped'} ± {gate['std']:.2f}" in page.text
    assert "τ 0.81, Jaccard 0.90" in page.text
    assert "0.7086 (order 1), 0.7764 (order 2)" in page.text
    figures = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) == 8
    assert all(figures)


def test_it_says_how_to_run_it_again(make_run: MakeRun) -> None:
    page = report(make_run())
    command, commit = "torchx run launch/search.py --config configs/demo.toml", "01234567, with uncommitted changes"
    for text in (command, commit, "continued once", "torchrec 1.8.0", "Python 3.11.2", "2 cores", "retraining 0, 1, 2"):
        assert text in page.text
    assert "not a reproduction" in page.text


def test_it_loads_nothing_and_runs_nothing(make_run: MakeRun) -> None:
    page = report(make_run())
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "image"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action"):
                assert (value or "").startswith("#"), (tag, value)
            assert "http" not in (value or ""), (tag, name)
    assert "@import" not in page.text
    assert not re.search(r"url\((?!#)", page.text)


def test_ids_are_unique_and_every_reference_resolves(make_run: MakeRun) -> None:
    run = make_run()
    page = report(run)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    text = (run / "report.html").read_text()
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = make_run()
    write_results(run)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_every_colour_follows_the_style_sheet(make_run: MakeRun) -> None:
    text = (make_run_report(make_run)).split("</style>")[1]
    bare = re.sub(r"var\(--[a-z0-9-]+, #[0-9a-f]{6}\)", "", text)
    assert not re.search(r"(fill|stroke): #", bare)


def make_run_report(make_run: MakeRun) -> str:
    run = make_run()
    write_results(run)
    return write_report(run).read_text()


def test_names_are_escaped(make_run: MakeRun) -> None:
    name = "<script>alert('x') & $co$"
    page = report(make_run(name=name))
    assert "script" not in {tag for tag, _ in page.tags}
    assert name in page.text


@pytest.mark.parametrize(
    "choices",
    [
        {"seeds": (0,), "num_days": 1, "truth": False, "models": {"found": MODELS["found"]}, "space": SpaceConfig(num_blocks=1)},
        {"num_days": 24, "space": SpaceConfig(num_blocks=7)},
        {"models": MODELS | {f"model_{i}": (0.7 + i / 1000, 0.5, 10**i, 10) for i in range(1, 8)}},
        {"spread": 0.0},
    ],
    ids=["smallest", "large", "many models", "no spread"],
)
def test_odd_runs_have_a_report(make_run: MakeRun, choices: dict[str, object]) -> None:
    assert "nan" not in report(make_run(**choices)).text


def test_an_empty_block_keeps_its_number_in_the_picture(make_run: MakeRun) -> None:
    """The derived architecture leaves empty blocks out and renumbers the rest; gates and costs must still meet."""
    run = make_run(space=SpaceConfig(num_blocks=3))
    alphas = json.loads((run / "alphas.json").read_text())
    for gate in alphas["gates"]:
        gate["kept"] = gate["block"] != 2 and gate["module"] == "cross"
    write(run / "alphas.json", alphas)
    blocks = [{"dense_width": 64, "modules": [{"name": "cross", "dense": [0]}]}]
    blocks.append(blocks[0] | {"modules": [{"name": "cross", "dense": [0, 1]}]})
    write(run / "architecture.json", json.loads((run / "architecture.json").read_text()) | {"blocks": blocks, "head": [1, 2]})
    for seed in range(3):
        path = run / "retrain" / "found" / f"seed={seed}" / "result.json"
        costs = [{"block": block, "module": "cross", "flops": 20_000 + block} for block in (1, 2)]
        write(path, json.loads(path.read_text()) | {"cost_by_module": costs})
    text = report(run).text
    assert "block 2: nothing kept" in text
    assert "block 3: 64 features" in text
    assert "block 3 · cross" in text


@pytest.mark.parametrize(
    ("name", "command"), [("alphas.json", "aggregate"), ("architecture.json", "aggregate"), ("results.json", "compare")]
)
def test_a_missing_record_names_the_command_that_makes_it(make_run: MakeRun, name: str, command: str) -> None:
    run = make_run()
    write_results(run)
    (run / name).unlink()
    with pytest.raises(ConfigError, match=rf"{name}.*recsys-nas {command} "):
        write_report(run)
    assert not (run / "report.html").exists()


def test_a_run_without_provenance_says_so(make_run: MakeRun) -> None:
    run = make_run()
    (run / "run.json").unlink()
    assert "not recorded" in report(run).text
