"""What the README names is there: files, symbols, make targets, verbs and config keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_linked_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("path", "symbol"), re.findall(r"\]\(([\w/]+\.py)\): `(\w+)`", README))
def test_named_symbols_are_defined_in_their_files(path: str, symbol: str) -> None:
    assert re.search(rf"^(class|def) {symbol}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_reading_order_has_five_entries_with_a_symbol_each() -> None:
    assert len(re.findall(r"^\d\. .*\]\([\w/]+\.py\): `\w+`", README, re.MULTILINE)) == 5


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"it"}))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_demo_runs_the_three_commands_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)/", "")
    section = README.partition("## The steps one by one")[2].partition("\nA config is")[0]
    commands = re.findall(r"^    ((?:data-prep|torchx) .*)$", section, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert command in makefile
