"""The search finds what was planted, on two of the worlds of benchmarks/planted_truth.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "planted_truth.py"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["second_order", "third_order"])
def test_what_was_planted_is_found(case: str, tmp_path: Path) -> None:
    """Enough for the signal is kept and no decoy, within .01 AUC of Bayes-optimal, at no more than a quarter of the full FLOPs."""
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), "--work", str(tmp_path), "--json", str(out), "--cases", case, "--seeds", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    row = json.loads(out.read_text())["rows"][f"{case} 0"]
    assert row["found"], row
