"""The rules of the house, read from the source: imports point one way, torch loads late, and files, functions and signatures stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("data_prep", "embeddings", "recsys_nas", "launch")
TORCH = ("torch", "torchrec", "fbgemm_gpu")


@dataclass(frozen=True)
class Rule:
    """What the modules under `package` may import of ours, and what they may never import."""

    package: str
    ours: tuple[str, ...]
    never: tuple[str, ...] = ()


RULES = (
    Rule("data_prep", ("data_prep",), TORCH),
    Rule("embeddings", ("embeddings", "data_prep")),
    Rule("recsys_nas", ("recsys_nas", "embeddings", "data_prep")),
    Rule("recsys_nas.space", ("recsys_nas.space",), TORCH),
    Rule("recsys_nas.modules", ("recsys_nas.modules", "recsys_nas.space")),
    Rule(
        "recsys_nas.cost",
        tuple(f"recsys_nas.{name}" for name in ("cost", "modules", "space", "model", "zoo")) + ("embeddings", "data_prep"),
    ),
    Rule("recsys_nas.search", PACKAGES[:3], ("recsys_nas.training", "recsys_nas.jobs")),
    Rule("recsys_nas.report", PACKAGES[:3], TORCH),
    Rule("recsys_nas.doctor", ("recsys_nas.doctor",), TORCH),
    Rule("launch", PACKAGES, TORCH),
)

LOADS_NO_TORCH = (
    "data_prep.cli",
    "recsys_nas.space",
    "recsys_nas.config",
    "recsys_nas.cli",
    "launch.search",
    "launch.controller",
    "launch.prep_controller",
)

MAX_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 400, 60, 8
EXCEPTIONS: dict[str, str] = {
    "launch/component.py:run_words": "TorchX makes a component's command line of its signature",
    "launch/component.py:prep_words": "TorchX makes a component's command line of its signature",
}
"""`path` or `path:function` that may be larger, each with its reason."""
NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "common", "misc"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


OURS = {module_name(path): path for path in sources(*PACKAGES)}


def lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports_of(source: str, module: str, is_package: bool = False) -> Iterator[tuple[str, int]]:
    """Every module that `source` imports, anywhere in it, with the line; of `from a import b`, `a.b` where that is a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = ".".join(parts[: len(parts) - node.level + is_package]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield (inner if inner in OURS else origin), node.lineno


def offences(rule: Rule, source: str, module: str, is_package: bool = False) -> list[str]:
    found = []
    for imported, line in imports_of(source, module, is_package):
        ours = imported.split(".")[0] in PACKAGES
        if ours and not any(lies_in(imported, allowed) for allowed in rule.ours):
            found.append(f"{module}:{line} imports {imported}; {rule.package} may import of ours only {', '.join(rule.ours)}")
        if any(lies_in(imported, banned) for banned in rule.never):
            found.append(f"{module}:{line} imports {imported}, which {rule.package} must not")
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.package)
def test_imports_point_one_way(rule: Rule) -> None:
    governed = [module for module in OURS if lies_in(module, rule.package)]
    assert governed, f"no module is left for the rule of {rule.package}"
    found = [text for module in governed for text in offences(rule, OURS[module].read_text(), module, OURS[module].name == "__init__.py")]
    assert found == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("data_prep", "import torch.nn"),
        ("data_prep", "def lazy():\n    from embeddings import config"),
        ("embeddings", "from recsys_nas.config import Config"),
        ("recsys_nas", "import launch.controller"),
        ("recsys_nas.space", "from torch import nn"),
        ("recsys_nas.space", "from recsys_nas.config import Config"),
        ("recsys_nas.space", "from ..config import Config"),
        ("recsys_nas.space", "from recsys_nas import config"),
        ("recsys_nas.search", "from recsys_nas.training.trainer import Trainer"),
        ("recsys_nas.modules", "from recsys_nas import cost"),
        ("launch", "import torchrec"),
    ],
)
def test_a_wrong_import_is_found(package: str, source: str) -> None:
    (rule,) = [rule for rule in RULES if rule.package == package]
    assert len(offences(rule, source, f"{package}.example")) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [("recsys_nas.space", "from . import modules"), ("launch", "import torchx"), ("recsys_nas", "import data_prep.atomic")],
)
def test_a_right_import_is_let_through(package: str, source: str) -> None:
    (rule,) = [rule for rule in RULES if rule.package == package]
    assert offences(rule, source, f"{package}.example") == []


def test_what_starts_often_loads_no_torch() -> None:
    """The command line, the controller and the TorchX component start in a moment; torch takes seconds."""
    code = f"""
import importlib, sys
for name in {LOADS_NO_TORCH}:
    importlib.import_module(name)
    loaded = [heavy for heavy in {TORCH} if heavy in sys.modules]
    if loaded:
        sys.exit(f"import {{name}} loads {{loaded}}")
"""
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def num_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    named = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")]) + bool(arguments.vararg) + bool(arguments.kwarg)


def too_large(path: Path) -> Iterator[str]:
    where = path.relative_to(ROOT).as_posix()
    lines = len(path.read_text().splitlines())
    if lines > MAX_LINES:
        yield f"{where} ({lines} lines)"
    for function in functions(path):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{where}:{function.name} ({length} lines)"
        if num_arguments(function) > MAX_ARGUMENTS:
            yield f"{where}:{function.name} ({num_arguments(function)} arguments)"


def test_files_functions_and_signatures_stay_small() -> None:
    found = [text for path in sources(*PACKAGES, "tests", "requirements") for text in too_large(path)]
    assert [text for text in found if text.partition(" ")[0] not in EXCEPTIONS] == []
    unused = set(EXCEPTIONS) - {text.partition(" ")[0] for text in found}
    assert not unused, "these need no exception any more"


def test_a_large_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    names = ", ".join(f"a{number}" for number in range(MAX_ARGUMENTS))
    path = tmp_path / "large.py"
    path.write_text(f"class A:\n    def f(self, {names}, *rest):\n" + "        pass\n" * MAX_FUNCTION_LINES + "\n" * MAX_LINES)
    assert [text.partition(" ")[0] for text in too_large(path)] == ["large.py", "large.py:f", "large.py:f"]


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {part.strip("_") for path in sources(*PACKAGES, "tests") for part in path.relative_to(ROOT).with_suffix("").parts}
    assert names.isdisjoint(NAMES_THAT_SAY_NOTHING)


def test_every_file_begins_by_saying_why_it_exists() -> None:
    silent = [
        path
        for path in sources(*PACKAGES, "tests", "requirements")
        if path.read_text() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert [path.relative_to(ROOT).as_posix() for path in silent] == []
