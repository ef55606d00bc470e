"""Which architecture file of a run a model is made from, and whether a result is still of what that file holds.

Architectures may be edited by hand and derived anew; a result of the one before must not be taken for that of the new one. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_nas.config import ConfigError
from recsys_nas.space import load_architecture
from recsys_nas.zoo.catalogue import FOUND, REFINED

CONTROL = re.compile(r"random-(\d{2,})")
ARCHITECTURE = "architecture.json"
REFINED_ARCHITECTURE = "refine/architecture.json"
"""In a run's folder, what `recsys_nas.jobs.refine` came to."""


def architecture_file(run: Path, model: str) -> Path | None:
    """The file that the found or refined network stands in, or that a random control is drawn at the cost of; None for all other models."""
    if model == REFINED:
        return run / REFINED_ARCHITECTURE
    return run / ARCHITECTURE if model == FOUND or CONTROL.fullmatch(model) else None


def architecture_key(run: Path, model: str) -> str | None:
    """The key of what that file holds now. Raises ConfigError for a file that is no architecture."""
    if (path := architecture_file(run, model)) is None:
        return None
    try:
        return load_architecture(path).key()
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_current(run: Path, model: str, result: Mapping[str, Any], path: Path) -> None:
    """Raises ConfigError when the `result` in `path` is of another architecture than the run's file holds now."""
    if (trained := result.get("architecture")) is not None and trained != architecture_key(run, model):
        raise ConfigError(
            f"{path} is of another network than {architecture_file(run, model)} holds now; "
            f"remove {run / 'retrain' / model} and run `recsys-nas retrain {run} --model {model}`"
        )
