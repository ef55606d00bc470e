"""What a verb of the command line is: its name, what it says of itself, its options, and what it does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Verb:
    """`help` is one line without a full stop. `run` returns an exit code (`data_prep.command_line`) and raises ValueError, one
    line, for bad input. `examples` are whole commands."""

    name: str
    help: str
    examples: tuple[str, ...]
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the folder of a run, such as runs/demo")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, for machines")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def run_folder(path: Path) -> Path:
    """`path`, which must be the folder of a run. Raises ValueError when it is none."""
    if not (path / "config.toml").is_file():
        raise ValueError(f"{path} is no run folder: it holds no config.toml; a search makes one, and `recsys-nas runs` lists them")
    return path
