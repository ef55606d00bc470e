"""What each choice of the differentiable search is worth: one changed at a time, on a small world with decoys, several seeds.

    python benchmarks/search_ablation.py --work /tmp/ablation --json OUT [--worlds second_order] [--variants default no_skip]

For each world, variant and seed (of the world, the noise and the weights): two days of 200,000 rows are searched, aggregated and the
found network is retrained, with the same settings under every variant. Resumable; `--table OUT` prints the table of a finished file.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

# Before the folder of this file, where data_prep is another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.small_searches import Results, day_records, judge, kept, mean_and_spread, open_run, prepare, read, search
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.jobs.networks import architecture_of
from recsys_nas.modules import normalised
from recsys_nas.report.intervals import half_width95

DECOYS = 3
Sections = dict[str, dict[str, Any]]
# What differs from the default. "model" holds what is not of the config.
VARIANTS: dict[str, Sections] = {
    "default": {},
    "noise_per_batch": {"search": {"noise": "batch"}},
    "no_skip": {"space": {"linear_skip": False}},
    "epsilon_1e-5": {"model": {"NORM_EPSILON": 1e-5}},
    "epsilon_1": {"model": {"NORM_EPSILON": 1.0}},
    "no_normalisation": {"space": {"normalisation": "none"}},
    "layer_normalisation": {"space": {"normalisation": "layer"}},
    "cost_0": {"search": {"cost_weight": 0.0}},
    "cost_3e-2": {"search": {"cost_weight": 3e-2}},
    "alpha_lr_3e-3": {"search": {"alpha_learning_rate": 3e-3}},
    "alpha_lr_1e-1": {"search": {"alpha_learning_rate": 1e-1}},
    "warmup_.1": {"search": {"warmup_share": 0.1}},
    "warmup_.5": {"search": {"warmup_share": 0.5}},
    "alternating": {"search": {"levels": "alternating"}},
    "annealed_to_.2": {"search": {"final_temperature": 0.2}},
    "alpha_betas_.9": {"search": {"alpha_betas": [0.9, 0.999]}},
    "removal_.01": {"search": {"removal_bound": 0.01}},
    "removal_.15": {"search": {"removal_bound": 0.15}},
    "settle_.02": {"search": {"settle_tolerance": 0.02}},
    "settle_.2": {"search": {"settle_tolerance": 0.2}},
    "schedule_400": {"search": {"schedule_steps": 400}},
    "schedule_400_removal_.15": {"search": {"schedule_steps": 400, "removal_bound": 0.15}},
    "schedule_400_settle_.02": {"search": {"schedule_steps": 400, "settle_tolerance": 0.02}},
    "schedule_400_settle_.2": {"search": {"schedule_steps": 400, "settle_tolerance": 0.2}},
    "no_removal": {"search": {"removal_bound": 0.0}},
    "no_early_stop": {"search": {"settle_share": 0.0}},
    "no_removal_no_stop": {"search": {"removal_bound": 0.0, "settle_share": 0.0}},
    "target_10%": {"search": {"target_flops": 4_000}},
    "target_10%_weight_3e-2": {"search": {"target_flops": 4_000, "target_weight": 3e-2}},
}


def measure(world: str, variant: str, seed: int, work: Path, ranks: Ranks, known: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One row: the search of two days and the found network, retrained unless a `known` row has trained the same one in this world."""
    sections = {name: dict(values) for name, values in VARIANTS[variant].items()}
    patched = sections.pop("model", {})
    sections["search"] = {"decoys": DECOYS} | sections.get("search", {})
    logs = prepare(world, seed, 3, work)
    before = {name: getattr(normalised, name) for name in patched}
    vars(normalised).update(patched)
    try:
        run = open_run(work / "runs" / f"{world}-{variant}-{seed}", logs, sections, seed, "0-1")
        began = time.process_time()
        alphas = search(run, ranks)
        cpu = time.process_time() - began
        trained = {"world": world, "seed": seed, "network": architecture_of(run, "found").key(), "patched": patched}
        found = next((row for row in known if trained.items() <= row.items()), None) or judge(run, "found", ranks)
    finally:
        vars(normalised).update(before)
    days = day_records(run)
    return trained | {
        "variant": variant,
        "kept": kept(alphas),
        "valid": alphas["valid"],
        "decoys": [round(decoy["probability"], 3) for decoy in alphas["decoys"]],
        "gates": {f"{gate['block']}/{gate['module']}": [round(p, 3) for p in gate["by_day"]] for gate in alphas["gates"]},
        "agreement": alphas["agreement"],
        "undecided_share": alphas["undecided_share"],
        "auc": found["auc"],
        "bayes_auc": read(logs.truth)["bayes"]["auc"],
        "dense_flops": found["dense_flops"],
        "rows": [day["rows"] for day in days],
        "search_cpu_seconds": cpu,
        "train_seconds": [day["train_seconds"] for day in days],
    }


def below_bayes(row: dict[str, Any]) -> float:
    return float(row["bayes_auc"] - row["auc"])


def against_default(group: list[dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    """Mean over seeds of what a variant lies farther below Bayes-optimal than the default of the same world and seed, with its interval."""
    default = {(row["world"], row["seed"]): row for row in rows if row["variant"] == "default"}
    differences = [below_bayes(row) - below_bayes(default[key]) for row in group if (key := (row["world"], row["seed"])) in default]
    if not differences or group[0]["variant"] == "default":
        return ""
    width = half_width95(differences)
    return f"{fmean(differences):+.4f}" + ("" if width is None else f" ± {width:.4f}")


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line for each world and variant."""
    sizes = ("AUC below Bayes", "minus default's, 95 %", "dense FLOPs", "modules")
    columns = ("world", "variant", *sizes, "worst decoy", "decoys kept", "undecided", "τ", "Jaccard", "rows a day", "search, CPU s")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for world, variant in dict.fromkeys((row["world"], row["variant"]) for row in rows):
        group = [row for row in rows if (row["world"], row["variant"]) == (world, variant)]
        taus = [row["agreement"]["kendall_tau"] for row in group if row["agreement"]["kendall_tau"] is not None]
        cells = [
            world,
            variant,
            mean_and_spread([below_bayes(row) for row in group]),
            against_default(group, rows),
            f"{fmean(row['dense_flops'] for row in group):,.0f}",
            mean_and_spread([len(row["kept"]) for row in group], 1),
            f"{max(max(row['decoys']) for row in group):.2f}",
            f"{sum(not row['valid'] for row in group)}/{len(group)}",
            f"{fmean(row['undecided_share'] for row in group):.2f}",
            f"{fmean(taus):.2f}" if taus else "-",
            f"{fmean(row['agreement']['jaccard'] for row in group):.2f}",
            f"{fmean(fmean(row['rows']) for row in group):,.0f}",
            f"{fmean(row['search_cpu_seconds'] for row in group):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--work", type=Path, help="where logs and run folders are kept")
    ask.add_argument("--json", type=Path, help="where to write the figures; what is there already is not measured again")
    ask.add_argument("--worlds", nargs="+", default=["second_order"])
    ask.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    ask.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    ask.add_argument("--table", type=Path, metavar="JSON", help="print the table of this file and do nothing else")
    arguments = ask.parse_args()
    if arguments.table:
        print(table(list(read(arguments.table)["rows"].values())))
        return
    if not arguments.work or not arguments.json:
        ask.error("--work and --json say where to work and what to write")
    torch.set_num_threads(1)
    results = Results(arguments.json)
    with process_group() as ranks:
        for seed in arguments.seeds:
            for world in arguments.worlds:
                for variant in arguments.variants:
                    if (key := f"{world} {variant} {seed}") not in results:
                        row = measure(world, variant, seed, arguments.work, ranks, results.rows.values())
                        results.add(key, row)


if __name__ == "__main__":
    main()
