"""Which normalisation before the gates, and how long a warm-up, let a day's search find planted interactions?

    python benchmarks/gate_normalisation.py --shards data/demo/shards --days 0 1 --json OUT

Searches each day under each setting, with configs/demo.toml otherwise. Prints and writes the gates' probabilities and the
normalised entropy of the day's last tenth, which tells whether the interactions were learnt at all. Quality, not speed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

# Before the folder of this file, where data_prep is another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.atomic import write_json
from recsys_nas.config import load_config, to_toml
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.jobs.search_day import search_day
from recsys_nas.modules import normalised
from recsys_nas.provenance import versions

EPSILONS = (1e-5, 1e-1, 1.0)
WARMUP_SHARES = (0.1, 0.3)
DEMO = Path(__file__).parent.parent / "configs" / "demo.toml"


def measure(shards: Path, day: int, epsilon: float, warmup_share: float, ranks: Ranks) -> dict[str, Any]:
    """One search of one day in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(DEMO, [f'data.shards="{shards}"', f'output="{folder}"', f"search.warmup_share={warmup_share}"])
        config.run_folder.mkdir()
        (config.run_folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
        normalised.NORM_EPSILON = epsilon
        search_day(Run.open(config.run_folder), day, ranks)
        record = json.loads((config.run_folder / "days" / f"day={day:02d}" / "alphas.json").read_text(encoding="utf-8"))
    curve = record["learning_curve"]
    end = [point["ne"] for point in curve if point["rows"] > 0.9 * record["rows"]]
    gates = {f"{gate['block']}/{gate['module']}": round(gate["probability"], 3) for gate in record["gates"]}
    return {"day": day, "epsilon": epsilon, "warmup_share": warmup_share, "end_ne": sum(end) / len(end), "gates": gates}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--shards", type=Path, required=True, help="the demo's shards")
    ask.add_argument("--days", type=int, nargs="+", default=[0, 1])
    ask.add_argument("--json", type=Path, required=True, help="where to write the figures")
    arguments = ask.parse_args()
    torch.set_num_threads(1)
    rows = []
    with process_group() as ranks:
        for epsilon, warmup_share, day in itertools.product(EPSILONS, WARMUP_SHARES, arguments.days):
            rows.append(measure(arguments.shards.resolve(), day, epsilon, warmup_share, ranks))
            print(json.dumps(rows[-1]), flush=True)
    write_json(arguments.json, {"versions": versions(), "rows": rows})


if __name__ == "__main__":
    main()
