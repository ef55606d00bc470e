"""What quantised tables cost on real logs: a DLRM trained on Criteo's sample, its tables in float16, int8 and int4.

    python benchmarks/quantise.py --criteo criteo_kaggle_first80k.tsv.gz --json OUT

The sample, in the order it has, is cut into ten pseudo-days; nine are trained on, the last is the test. Wanted for int8: a loss of AUC
below 1e-4. Quality, not speed.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import machine
from data_prep import cli as data_prep_cli
from data_prep.atomic import write_json
from recsys_nas.config import from_mapping, to_toml
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import process_group
from recsys_nas.jobs.retrain import retrain
from recsys_nas.serving.quantised import quantise_model, summary

DAYS, MODEL, WANTED_INT8 = 10, "dlrm", 1e-4


def cut_into_days(sample: Path, folder: Path) -> None:
    """`day_0` to `day_9`, the rows in their order."""
    with gzip.open(sample, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    folder.mkdir()
    for day in range(DAYS):
        first, end = day * len(lines) // DAYS, (day + 1) * len(lines) // DAYS
        (folder / f"day_{day}").write_text("".join(lines[first:end]), encoding="utf-8")


def make_run(folder: Path, seeds: list[int]) -> Run:
    """Shards of the days in `<folder>/raw`, and a run over them."""
    if data_prep_cli.main(["run", "--input", str(folder / "raw" / "day_*"), "--out", str(folder / "shards"), "--workers", "1"]):
        sys.exit(1)
    raw = {
        "name": "run",
        "output": str(folder),
        "data": {"shards": str(folder / "shards"), "search_days": "0", "train_days": f"0-{DAYS - 2}", "test_day": DAYS - 1},
        "embedding": {"dim": 16},
        "retrain": {"models": [MODEL], "seeds": seeds, "batch_size": 256, "learning_rate": 1e-3},
    }
    config = from_mapping(raw, where="benchmark")
    config.run_folder.mkdir()
    (config.run_folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    return Run.open(config.run_folder)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--criteo", type=Path, required=True, help="rows of Criteo's format, .gz")
    ask.add_argument("--seeds", type=int, nargs="+", default=[0])
    ask.add_argument("--json", type=Path, required=True, help="where to write the figures")
    arguments = ask.parse_args()
    torch.set_num_threads(1)
    reports = []
    with tempfile.TemporaryDirectory() as name:
        cut_into_days(arguments.criteo, Path(name) / "raw")
        run = make_run(Path(name), arguments.seeds)
        with process_group() as ranks:
            for seed in arguments.seeds:
                retrain(run, MODEL, seed, ranks)
                for report in quantise_model(run, MODEL, seed, ["float16", "int8", "int4"], ranks):
                    print(f"seed {seed}, {summary(report)}", flush=True)
                    reports.append({key: value for key, value in report.items() if key != "tables"})
    write_json(arguments.json, {"machine": machine(("torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu")), "reports": reports})
    missed = [report["auc_loss"] for report in reports if report["dtype"] == "int8" and report["auc_loss"] >= WANTED_INT8]
    if missed:
        sys.exit(f"int8 loses {max(missed):.6f} of AUC, wanted below {WANTED_INT8}")


if __name__ == "__main__":
    main()
