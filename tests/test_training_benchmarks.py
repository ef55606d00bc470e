"""The benchmarks of training run, in small: both loops learn the same model and the figures are all there. No speed is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--batch", "64", "--table-rows", "1000", "--dim", "4", "--steps", "2", "--repeats", "1"]


def figures(script: str, tmp_path: Path, *arguments: str) -> dict[str, object]:
    out = tmp_path / "out.json"
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--json", str(out), *SMALL, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    found: dict[str, object] = json.loads(out.read_text())
    return found


@pytest.mark.slow
def test_our_loop_is_compared_with_a_bare_one_on_one_rank_and_two(tmp_path: Path) -> None:
    found = figures("training.py", tmp_path)
    ratios = found["vs_bare_torchrec"]
    assert isinstance(ratios, dict)
    assert set(ratios) == {"1", "2"}
    assert all(ratio > 0 for ratio in ratios.values())


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    found = figures("gpu/training.py", tmp_path, "--device", "cpu")
    pipelines = found["pipeline"]
    assert isinstance(pipelines, dict)
    assert set(pipelines) == {"off", "on"}
    for result in pipelines.values():
        assert 0 <= result["from_shards"]["waiting_for_data"] < 1
        assert result["hbm_gb"] is None
        assert result["in_memory"]["vs_bare_torchrec"] > 0
