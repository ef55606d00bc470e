"""The page on adding a module keeps its word: its code runs, and the module passes what every module must pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "add-a-module.md"
CONTRACT = "tests/recsys_nas/modules/test_slicing.py"


def code_of_the_page() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return str(code)


def contract(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """What every module must pass, run on the module of `code` in a process of its own: what it registers is gone afterwards."""
    (folder / "page.py").write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "page", "-p", "no:cacheprovider", "-k", "weighted_sum", CONTRACT]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_module_is_a_class_and_a_line_in_under_40_lines() -> None:
    lines = [line for line in code_of_the_page().splitlines() if line.strip()]
    assert len(lines) < 40
    assert sum(line.startswith("class ") for line in lines) == sum(line.startswith("register(") for line in lines) == 1


def test_the_code_of_the_page_runs_and_its_module_passes_what_every_module_must_pass(tmp_path: Path) -> None:
    finished = contract(tmp_path, code_of_the_page())
    assert finished.returncode == 0, finished.stdout + finished.stderr
    # Mixing 3 tokens of 4 dimensions, projecting to 8, the head on these, the linear skip on 2 + 3 * 4 raw features.
    assert f"{2 * (3 * 4 + 4 * 8 + 8 + 14)} FLOPs per example" in finished.stdout
    passed = re.search(r"(\d+) passed", finished.stdout)
    assert passed
    assert int(passed.group(1)) >= 9


@pytest.mark.parametrize(
    ("right", "wrong", "failing"),
    [
        ("2 * shape.dim * shape.tokens +", "shape.dim * shape.tokens +", "test_flops_are_those_that_torch_counts"),
        ("(slice(None), part.tokens)", "(slice(None), part.tokens.flip(0))", "test_inputs_outside_the_part_count_as_zeros"),
        ('("sparse",)', '("dense", "sparse")', "test_a_module_reads_the_streams_it_declares_and_no_other"),
    ],
)
@pytest.mark.slow
def test_a_wrong_module_does_not_pass(tmp_path: Path, right: str, wrong: str, failing: str) -> None:
    code = code_of_the_page()
    assert code.count(right) == 1
    module = code[: code.index("\nblock = ")]
    finished = contract(tmp_path, module.replace(right, wrong))
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert failing in finished.stdout
