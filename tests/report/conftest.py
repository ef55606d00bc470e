"""Fixtures of the report's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.fabricated_run import fabricate

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(**choices)` writes a finished run and returns its folder; see `fabricate` for the choices."""
    return lambda **choices: fabricate(tmp_path / "runs" / "demo", **choices)
