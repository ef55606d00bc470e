"""Fake jobs for the launch tests, and a process left as it was found: TorchX takes over signals, the launcher PATH and excepthook."""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.queue import AppBuilder

HERE = Path(__file__).parent

SHARDS = {
    "format_version": 1,
    "schema": {"label": "label", "dense": ["I1"], "sparse": [{"name": "C1", "num_embeddings": 10}]},
    "parameters": {},
    "days": [{"day": day, "rows": 100, "positives": 10, "parts": []} for day in range(4)],
}


@pytest.fixture(autouse=True)
def untouched_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    python_path = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, python_path)))
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def plain_app() -> AppBuilder:
    """Builds jobs as plain processes, without torchrun."""
    build: AppBuilder = runpy.run_path(str(HERE / "fake_pipeline.py"))["plain_app"]
    return build


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A config over shards of days 0-3, which are there in name only; its runs go to tmp_path/runs."""
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "manifest.json").write_text(json.dumps(SHARDS))
    path = tmp_path / "tiny.toml"
    path.write_text(
        f"""
        output = "{tmp_path}/runs"
        [data]
        shards = "{shards}"
        search_days = "0-2"
        train_days = "0-2"
        test_day = 3
        [retrain]
        models = ["mlp"]
        seeds = [0, 1]
        """
    )
    return path
