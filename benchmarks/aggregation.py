"""What each way of joining days and cutting gates is worth: one searched run, a network a rule, each distinct one trained from scratch.

    python benchmarks/aggregation.py --run RUN --json OUT [--seeds 0 1 2]

RUN is the folder of a searched run, such as benchmarks/quality.py leaves in its --work; it is read, and trainings go to RUN/rules. Rules
that come to the same network share its trainings, on the run's own days and settings. Resumable; one core; `--table OUT` prints the table
of a finished file.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

# Before the folder of this file, where data_prep is another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.small_searches import Results, kept, read
from data_prep.atomic import write_text
from recsys_nas.config import Config, load_config, to_toml
from recsys_nas.cost import dense_flops
from recsys_nas.jobs.assembly import Run
from recsys_nas.jobs.environment import Ranks, process_group
from recsys_nas.jobs.retrain import retrain
from recsys_nas.report.intervals import half_width95
from recsys_nas.search.aggregate import aggregate_run
from recsys_nas.space import load_architecture
from recsys_nas.zoo.catalogue import FOUND

AS_IT_IS = "as it is"
RULES: dict[str, tuple[str, ...]] = {
    AS_IT_IS: (),
    "logit_mean": ('search.aggregation="logit_mean"',),
    "majority": ('search.aggregation="majority"',),
    "recency": ('search.aggregation="recency"',),
    "threshold .3": ("search.threshold=0.3",),
    "threshold .5": ("search.threshold=0.5",),
    "threshold .7": ("search.threshold=0.7",),
    "top_k 2": ('search.discretise="top_k"', "search.top_k=2"),
    "top_k 4": ('search.discretise="top_k"', "search.top_k=4"),
    "budget": ('search.discretise="budget"',),
}
"""What differs from the run's own config."""


def measure(run: Run, rule: str, config: Config, seeds: Sequence[int], ranks: Ranks) -> dict[str, Any]:
    """One row: what the rule keeps, and what that reaches. `config`: the run's under the rule."""
    derived = run.folder / "rules" / rule.replace(" ", "-")
    aggregate_run(run.folder, config=config, out=derived)
    network = load_architecture(derived / "architecture.json")
    folder = run.folder / "rules" / network.key()
    write_text(folder / "config.toml", to_toml(run.config))
    write_text(folder / "architecture.json", (derived / "architecture.json").read_text(encoding="utf-8"))
    to_train = dataclasses.replace(Run.open(folder), shards=run.shards)
    aucs = {}
    for seed in seeds:
        retrain(to_train, FOUND, seed, ranks)
        aucs[str(seed)] = read(folder / "retrain" / FOUND / f"seed={seed}" / "result.json")["auc"]
    gates = kept(read(derived / "alphas.json"))
    return {"rule": rule, "key": network.key(), "kept": gates, "dense_flops": dense_flops(network), "auc": aucs}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, a line a network, under the names of all rules that come to it."""
    lines = ["| rule | keeps | dense FLOPs | AUC | minus that of the run's own rule |", "|---|---|---|---|---|"]
    own = rows[AS_IT_IS]
    networks: dict[str, list[str]] = {}
    for row in rows.values():
        networks.setdefault(row["key"], []).append(row["rule"])
    for rules in networks.values():
        row = rows[rules[0]]
        pairs = [row["auc"][seed] - own["auc"][seed] for seed in own["auc"]]
        width = half_width95(pairs)
        minus = "" if row["key"] == own["key"] else f"{fmean(pairs):+.5f}" + ("" if width is None else f" ± {width:.5f}")
        names = " ".join(f"`{name}`" for name in row["kept"])
        lines.append(f"| {', '.join(rules)} | {names} | {row['dense_flops']:,} | {fmean(row['auc'].values()):.5f} | {minus} |")
    return "\n".join(lines)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--run", type=Path, help="a searched run; its config names a target")
    ask.add_argument("--json", type=Path, help="where to write the figures; what is there already is not measured again")
    ask.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    ask.add_argument("--table", type=Path, metavar="JSON", help="print the table of this file and do nothing else")
    arguments = ask.parse_args()
    if arguments.table:
        print(table(read(arguments.table)["rows"]))
        return
    if not arguments.run or not arguments.json:
        ask.error("--run and --json say what was searched and what to write")
    torch.set_num_threads(1)
    results = Results(arguments.json)
    if any(list(row["auc"]) != list(map(str, arguments.seeds)) for row in results.rows.values()):
        sys.exit(f"error: {arguments.json} holds figures of other seeds; name these, or another file")
    with process_group() as ranks:
        run = Run.open(arguments.run)
        configs = {rule: load_config(run.folder / "config.toml", list(changes)) for rule, changes in RULES.items()}
        for rule, config in configs.items():
            if rule not in results:
                results.add(rule, measure(run, rule, config, arguments.seeds, ranks))
    print(table(results.rows))


if __name__ == "__main__":
    main()
