"""A search killed outright at three random moments ends, run again, as if nothing had happened; benchmarks/launch_kills.py drives 20."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "launch_kills.py"


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch_kills", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["launch_kills"] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and the parent-death signal")
def test_killed_and_run_again(tmp_path: Path) -> None:
    found = _benchmark().kills(tmp_path, count=3, seed=0)
    assert [kill.victim for kill in found] == ["controller", "torchrun", "rank"]
    assert [kill.faults for kill in found] == [(), (), ()]
