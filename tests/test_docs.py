"""docs/: links lead somewhere, commands and configs are valid, code runs, the table of keys is current, Sphinx makes pages of it all."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import data_prep.cli
from launch.component import prep_words, raw_words, run_words
from recsys_nas import cli
from recsys_nas.config import Config, ConfigError, config_values, from_mapping, load_config

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ALL_PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
PROGRAMS = ("recsys-nas", "data-prep", "torchx")
TESTED_ELSEWHERE = ("your-data.md", "add-a-module.md")
"""Pages whose blocks have a test of their own."""
FRAGMENTS = ("add-a-data-source.md",)
"""Pages whose Python is the skeleton of somebody else's package: it must compile."""


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub and MyST spell them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text_of(page)):
        path, _, anchor = target.partition("#")
        where = (page.parent / path) if path else page
        assert where.exists(), target
        assert not anchor or anchor in anchors(where), target


def test_every_page_is_on_the_front_page_and_in_the_contents() -> None:
    pages = {page.name for page in PAGES} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", text_of(DOCS / "README.md"))) == pages
    listed = {f"{name}.md" for name in re.findall(r"^   ([\w-]+)$", text_of(DOCS / "index.rst"), re.MULTILINE)}
    assert listed == pages


def commands(page: Path) -> list[str]:
    """Whole commands of ours in indented and fenced blocks."""
    lines = re.findall(r"^(?: {4,})?((?:recsys-nas|data-prep|torchx run) .*)$", text_of(page), re.MULTILINE)
    return [re.split(r"\s+#|\s*[>|]\s", line)[0] for line in lines]


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_commands_are_valid(page: Path) -> None:
    for command in commands(page):
        if "..." in command or "[options]" in command:
            continue
        program, *words = shlex.split(command)
        if program == "recsys-nas":
            cli.make_parser().parse_args(words)
        elif program == "data-prep":
            data_prep.cli._parser().parse_args(words)
        else:
            check_launch(words)


def check_launch(words: list[str]) -> None:
    """`run [-s scheduler] launch/NAME.py --option value ... section.key=value`; options are those of the component."""
    rest = words[words.index(next(word for word in words if word.startswith("launch/"))) :]
    component = ROOT / rest[0].partition(":")[0]
    assert component.exists(), rest[0]
    words_of: dict[str, tuple[Callable[..., Any], ...]] = {"prep": (prep_words, raw_words), "pipeline": (run_words, raw_words)}
    known = {name for maker in words_of.get(component.stem, (run_words,)) for name in inspect.signature(maker).parameters}
    options = {word.removeprefix("--") for word in rest if word.startswith("--")}
    assert options <= known, options - known
    overrides = [word for word in rest[1:] if re.match(r"[a-z_]+(\.[a-z_]+)?=", word) and "prep" not in rest[0]]
    if "--days" in rest:
        overrides.append(f'data.search_days="{rest[rest.index("--days") + 1]}"')
    load_config(ROOT / "configs" / "demo.toml", [override for override in overrides if not override.startswith(("prep.", "partition="))])


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_configs_are_valid(page: Path) -> None:
    fenced = [block for block in blocks(page, "toml") if "[data]" in block]
    indented = [re.sub("^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .*\n)+", text_of(page), re.MULTILINE)]
    for block in [*fenced, *(block for block in indented if "[data]\n" in block)]:
        toml = "\n".join(line for line in block.splitlines() if not line.startswith(PROGRAMS))
        try:
            from_mapping({"name": "docs"} | tomllib.loads(toml), page.name)
        except (ConfigError, tomllib.TOMLDecodeError) as error:
            raise AssertionError(f"{page.name}: {error}\n{toml}") from error


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python") and page.name not in TESTED_ELSEWHERE], ids=lambda page: page.name
)
def test_code_runs(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "python"):
        if page.name in FRAGMENTS:
            compile(block, page.name, "exec")
            continue
        finished = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["config", "spaces"])
def test_pages_made_from_code_are_current(page: str) -> None:
    maker = f"make_{page}.py"
    assert text_of(DOCS / f"{page}.md") == load(DOCS / maker).page(), f"run `python docs/{maker}` and commit docs/{page}.md"


def test_every_key_of_a_config_has_a_line_of_its_own() -> None:
    named = {key.rpartition(".")[2] for key, _ in config_values(Config("docs"))}
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", text_of(DOCS / "config.md"), re.MULTILINE)
    assert named <= {name for name, _ in rows}
    assert [name for name, told in rows if not told.strip()] == []


def test_sphinx_makes_pages_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="Sphinx, MyST and Furo, which make pages of docs/, are not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    for page in tmp_path.glob("*.html"):
        loaded = re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["'](https?://[^"']+)""", page.read_text(encoding="utf-8"))
        assert loaded == [], f"{page.name} loads {loaded} from elsewhere"


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_block_to_its_last(tmp_path: Path) -> None:
    """In an empty folder, at a tenth of its rows."""
    page = DOCS / "tutorial.md"
    for kind, block in re.findall(r"^```(sh|toml)\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE):
        if kind == "toml":
            name = re.match(r"# ([\w.]+)", block)
            assert name is not None
            (tmp_path / name[1]).write_text(block, encoding="utf-8")
            continue
        fewer = block.replace("--rows-per-day 50000", "--rows-per-day 5000")
        shell = f'PATH="{Path(sys.executable).parent}:$PATH"\n{fewer}'
        finished = subprocess.run(["bash", "-ec", shell], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "runs" / "first" / "report.html").exists()
    assert (tmp_path / "runs" / "dearer" / "results.json").exists()


def test_a_wrong_command_is_noticed() -> None:
    with pytest.raises(SystemExit):
        cli.make_parser().parse_args(["diff", "one"])
    with pytest.raises((AssertionError, argparse.ArgumentError, StopIteration)):
        check_launch(["run", "launch/search.py", "--no_such_option", "1"])
