"""Does the search find what was planted? Small worlds whose signal needs given interactions, with decoys beside the real modules.

    python benchmarks/planted_truth.py --work /tmp/planted --json OUT [--cases second_order gating] [--seeds 0 1 2] [--target-flops 8000]

For each case and seed (of the world, the noise and the weights): two days of 200,000 rows are searched with the default settings, the
days aggregated, and the found network retrained on both and judged on a third. It is found when what it keeps is enough for the
signal, no decoy survives, its AUC is within .01 of Bayes-optimal and it has at most a quarter of the full supernet's dense FLOPs.
`--alone` also trains, for each case and seed, the network of each module alone: what NEEDED was read from. One core; resumable;
`--table OUT` prints the table of a finished file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

# Before the folder of this file, where data_prep is another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.small_searches import SPACE, Logs, Results, judge, judge_gates, kept, mean_and_spread, open_run, prepare, read, search
from recsys_nas.cost import dense_flops
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.space import Gate

DECOYS = 3
WITHIN_BAYES, SHARE_OF_FULL, SEEDS_NEEDED = 0.01, 0.25, 4
PRODUCTS = ("dot_product", "cross", "field_gate")
# Alternatives, one of which must be kept whole: module kinds, or gates where the block matters. They are those whose network alone comes
# within .01 of Bayes-optimal (`--alone`, seed 0), and for products of three also a product of products. Where every kind does, nothing
# particular is needed, and the AUC alone tells.
NEEDED: dict[str, tuple[frozenset[str], ...]] = {
    "first_order": (frozenset(),),
    "second_order": tuple(frozenset({kind}) for kind in PRODUCTS),
    "third_order": (
        frozenset({"fm"}),
        frozenset({"embedded_fc"}),
        *(frozenset({f"1/{first}", f"2/{second}"}) for first in PRODUCTS for second in PRODUCTS),
    ),
    "gating": (frozenset(),),
    "attention": (frozenset(),),
}


def measure(case: str, seed: int, target_flops: int, work: Path, ranks: Ranks) -> dict[str, Any]:
    """One row: whether that case is found under that seed, and why not."""
    logs = prepare(case, seed, 3, work)
    folder = work / "runs" / (f"{case}-{seed}-{target_flops}" if target_flops else f"{case}-{seed}")
    run = open_run(folder, logs, {"search": {"decoys": DECOYS, "target_flops": target_flops}}, seed, "0-1")
    alphas = search(run, ranks)
    found = judge(run, "found", ranks)
    bayes = read(logs.truth)["bayes"]["auc"]
    names = set(kept(alphas))
    kinds = {name.partition("/")[2] for name in names}
    share = found["dense_flops"] / dense_flops(run.space().full())
    checks = {
        "keeps_needed": any(needed <= names | kinds for needed in NEEDED[case]),
        "no_decoy": alphas["valid"],
        "within_bayes": bayes - found["auc"] <= WITHIN_BAYES,
        "small": share <= SHARE_OF_FULL,
    }
    return {
        "case": case,
        "seed": seed,
        "found": all(checks.values()),
        **checks,
        "kept": kept(alphas),
        "auc": found["auc"],
        "bayes_auc": bayes,
        "dense_flops": found["dense_flops"],
        "share_of_full": share,
        "decoys": [round(decoy["probability"], 3) for decoy in alphas["decoys"]],
        "gates": {f"{gate['block']}/{gate['module']}": [round(p, 3) for p in gate["by_day"]] for gate in alphas["gates"]},
        "agreement": alphas["agreement"],
        "undecided_share": alphas["undecided_share"],
    }


def alone(case: str, seed: int, logs: Logs, work: Path, ranks: Ranks) -> dict[str, Any]:
    """AUC below Bayes-optimal of the network of each module alone, in block 1, and of two cross layers in a row."""
    bayes = read(logs.truth)["bayes"]["auc"]
    networks = {name: [Gate(1, name)] for name in (*SPACE["dense_modules"], *SPACE["sparse_modules"])}
    networks["cross, cross"] = [Gate(1, "cross"), Gate(2, "cross")]
    below = {}
    for name, gates in networks.items():
        run = open_run(work / "runs" / f"{case}-{seed}-{name.replace(', ', '-')}", logs, {}, seed, "0-1")
        below[name] = bayes - judge_gates(run, gates, ranks)["auc"]
    return {"case": case, "seed": seed, "below_bayes": below}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line for each case."""
    lines = [
        "| case | found | needed kept | no decoy | within Bayes | small | AUC below Bayes | FLOPs of full | modules | worst decoy | τ |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        group = [row for row in rows if row["case"] == case]
        held = [
            f"{sum(row[check] for row in group)}/{len(group)}" for check in ("found", "keeps_needed", "no_decoy", "within_bayes", "small")
        ]
        cells = [
            case,
            *held,
            mean_and_spread([row["bayes_auc"] - row["auc"] for row in group]),
            f"{fmean(row['share_of_full'] for row in group):.1%}",
            mean_and_spread([len(row["kept"]) for row in group], 1),
            f"{max(max(row['decoys']) for row in group):.2f}",
            f"{fmean(row['agreement']['kendall_tau'] for row in group):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--work", type=Path, help="where logs and run folders are kept")
    ask.add_argument("--json", type=Path, help="where to write the figures; what is there already is not measured again")
    ask.add_argument("--cases", nargs="+", default=list(NEEDED), choices=NEEDED)
    ask.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    ask.add_argument("--target-flops", type=int, default=0, help="what the search is asked for (default: nothing); into a JSON of its own")
    ask.add_argument("--alone", action="store_true", help="also train each module alone")
    ask.add_argument("--table", type=Path, metavar="JSON", help="print the table of this file and do nothing else")
    arguments = ask.parse_args()
    if arguments.table:
        print(table([row for row in read(arguments.table)["rows"].values() if "found" in row]))
        return
    if not arguments.work or not arguments.json:
        ask.error("--work and --json say where to work and what to write")
    torch.set_num_threads(1)
    results = Results(arguments.json)
    with process_group() as ranks:
        for seed in arguments.seeds:
            for case in arguments.cases:
                if (key := f"{case} {seed}") not in results:
                    results.add(key, measure(case, seed, arguments.target_flops, arguments.work, ranks))
                if arguments.alone and (key := f"{case} {seed} alone") not in results:
                    results.add(key, alone(case, seed, prepare(case, seed, 3, arguments.work), arguments.work, ranks))


if __name__ == "__main__":
    main()
