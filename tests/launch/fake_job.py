"""Stands in for both job modules, without torch: writes figures and result files, or misbehaves as FAKE_JOB says.

FAKE_JOB is JSON from a day or model name to one of: ok (default), once (fails the first time), traceback, user_error, silent,
killed, hang, slow.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import tomllib
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--day", type=int)
    parser.add_argument("--model")
    options = parser.parse_args()
    unit = options.model or str(options.day)
    mode = json.loads(os.environ.get("FAKE_JOB", "{}")).get(unit, "ok")
    seeds = tomllib.loads((options.run / "config.toml").read_text())["retrain"]["seeds"] if options.model else []
    folders = [options.run / "retrain" / unit / f"seed={seed}" for seed in seeds] or [options.run / "days" / f"day={options.day:02d}"]
    log = options.run / "events.log"
    _note(log, f"start {unit}")
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        _misbehave(mode, folder, unit)
        for step in (1, 2):
            line = {"step": step, "rows": step * 50, "total_rows": 100, "loss": 0.5, "ne": 0.9, "rows_per_second": 1e3, "seconds_left": 1.0}
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            time.sleep(0.05 if mode != "slow" else 60)
        result = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
        (folder / ("result.json" if options.model else "alphas.json")).write_text(json.dumps(result))
    _note(log, f"end {unit} as rank {os.environ.get('RANK', '0')} of {os.environ.get('WORLD_SIZE', '1')}")


def _note(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text + "\n")


def _misbehave(mode: str, folder: Path, unit: str) -> None:
    mark = folder / "tried"
    first = not mark.exists()
    mark.touch()
    if mode == "traceback" or (mode == "once" and first):
        raise RuntimeError(f"no luck with {unit}\nand a second line")
    if mode == "user_error":
        print(f"error: {unit} is not what you want", file=sys.stderr)
        sys.exit(2)
    if mode == "silent":
        sys.exit(0)
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "hang":
        time.sleep(600)


if __name__ == "__main__":
    main()
