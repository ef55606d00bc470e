"""A fabricated run folder, complete and plausible, so that the report is tested without training anything."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recsys_nas.config import Config, DataConfig, SpaceConfig, load_config, to_toml
from recsys_nas.report.results import write_results
from recsys_nas.space import Gate, space_from_config
from recsys_nas.training.retraining import RetrainConfig

TEST_ROWS, TEST_POSITIVES = 200_000, 51_240
BAYES_BY_ORDER = {"1": {"auc": 0.7086, "logloss": 0.4993}, "2": {"auc": 0.7764, "logloss": 0.4752}}
# name -> (AUC, log loss, dense FLOPs, dense parameters)
MODELS = {
    "found": (0.7712, 0.4801, 61_440, 31_105),
    "full_supernet": (0.7709, 0.4804, 412_672, 208_449),
    "dcnv2": (0.7681, 0.4829, 742_400, 372_353),
    "dlrm": (0.7664, 0.4842, 498_176, 250_113),
    "mlp": (0.7625, 0.4871, 286_720, 143_873),
}
COST_SHARES = {
    "linear": 0.062, "dot_product": 0.118, "cross": 0.171, "fm": 0.002, "embedded_fc": 0.048, "self_attention": 0.099,
}  # fmt: skip
TARGETS = {"dot_product": 0.94, "fm": 0.83, "cross": 0.35, "linear": 0.27, "embedded_fc": 0.56, "self_attention": 0.18}


def fabricate(
    run: Path,
    models: dict[str, tuple[float, float, int, int]] | None = None,
    seeds: Iterable[int] = (0, 1, 2),
    num_days: int = 5,
    space: SpaceConfig | None = None,
    name: str = "demo",
    truth: bool = True,
    spread: float = 0.0004,
) -> Path:
    """Write all records of a finished run. `models`: name -> (AUC, log loss, dense FLOPs, parameters); `spread` of AUC over seeds."""
    models, seeds, space = models or MODELS, tuple(seeds), space or SpaceConfig()
    generator = random.Random(7)
    truth_path = run.parent / "truth.json"
    days = f"0-{num_days - 1}"
    config = Config(
        name=name,
        output=str(run.parent),
        data=DataConfig(search_days=days, train_days=days, test_day=num_days, truth=str(truth_path) if truth else ""),
        space=space,
        retrain=RetrainConfig(models=tuple(m for m in models if m != "found"), seeds=seeds),
    )
    write(run / "config.toml", to_toml(config))
    write(run / "run.json", PROVENANCE)
    bayes = {"day": num_days, "auc": 0.7764, "logloss": 0.4752}
    write(truth_path, {"format_version": 1, "seed": 0, "bayes": bayes, "bayes_by_order": BAYES_BY_ORDER})
    _write_search(run, config, num_days, generator)
    for model, figures in models.items():
        for seed in seeds:
            write(run / "retrain" / model / f"seed={seed}" / "result.json", _result(model, seed, figures, config, spread, generator))
    return run


def add_controls(run: Path) -> None:
    """Gather the results, and add eight random networks and a search under two other prices."""
    results = write_results(run)
    aucs = [0.759 + i / 1000 for i in range(8)]
    random = {"count": 8, "seed": 0, "percentile_vs_random": 100.0, "found_auc": 0.7712, "auc": aucs, "auc_mean": sum(aucs) / 8,
              "auc_median": 0.7625, "auc_best": max(aucs), "dense_flops": [50_000 + 3000 * i for i in range(8)]}  # fmt: skip
    write(run / "results.json", results | {"random": random})
    priced = {"kind": "found", "auc_ci95": 0.0006}
    points = [
        {"name": "cost_weight=0.03", "dense_flops": 9_000, "auc": 0.7655} | priced,
        {"name": "cost_weight=0.003", "dense_flops": 150_000, "auc": 0.7713} | priced,
        {"name": "refined", "kind": "found", "auc_ci95": 0.0006, "dense_flops": 70_000, "auc": 0.7713},
        {"name": "dlrm", "kind": "zoo", "dense_flops": 498_176, "auc": 0.7664},
    ]
    write(run / "pareto.json", {"format_version": 1, "points": points})


def train_controls(run: Path, aucs: Sequence[float]) -> None:
    """Make random networks of these AUCs part of the run, as if they had been trained."""
    path = run / "config.toml"
    write(path, path.read_text().replace("random_controls = 0", f"random_controls = {len(aucs)}"))
    config = load_config(path)
    for name, auc in zip(config.retrain.controls, aucs, strict=True):
        seed = config.retrain.seeds[0]
        record = _result(name, seed, (auc, 0.5, 60_000, 30_000), config, 0.0, random.Random(0)) | {"auc": auc}
        write(run / "retrain" / name / f"seed={seed}" / "result.json", record)


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1), encoding="utf-8")


PROVENANCE = {
    "format_version": 1,
    "seed": 0,
    "created": "2026-11-21T05:30:12+00:00",
    "command": ["torchx", "run", "launch/search.py", "--config", "configs/demo.toml"],
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "git_dirty": True,
    "python": "3.11.2",
    "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
    "cpu_count": 2,
    "continued": [{"created": "2026-11-21T05:36:40+00:00"}],
    "versions": {"torch": "2.13.0+cpu", "torchrec": "1.8.0", "fbgemm": "1.8.0", "torchx": "0.7.0"},
}


def _write_search(run: Path, config: Config, num_days: int, generator: random.Random) -> None:
    space = space_from_config(config.space, 13, 26, config.embedding.dim)
    by_gate: dict[Gate, list[float]] = {}
    for gate in space.gates:
        target = min(0.98, max(0.02, TARGETS.get(gate.module, 0.4) + (0.04 if gate.block == 1 else -0.06)))
        logit = math.log(target / (1 - target))
        by_gate[gate] = [1 / (1 + math.exp(-logit - generator.gauss(0, 0.25))) for _ in range(num_days)]
    for day in range(num_days):
        gates = [
            {
                "block": g.block,
                "module": g.module,
                "alpha": math.log(p[day] / (1 - p[day])),
                "probability": p[day],
                "cost_share": COST_SHARES.get(g.module, 0.05),
            }
            for g, p in by_gate.items()
        ]
        seconds = generator.uniform(38, 52)
        write(
            run / "days" / f"day={day:02d}" / "alphas.json",
            {"format_version": 1, "day": day, "seed": 0, "rows": 200_000, "steps": 390, "seconds": seconds, "train_seconds": seconds - 4,
             "rows_per_second": 200_000 / (seconds - 4), "train_loss": 0.487, "train_ne": 0.858, "expected_cost_share": 0.34,
             "space": {}, "gates": gates},
        )  # fmt: skip
    kept = []
    verdicts = []
    for g, p in by_gate.items():
        mean = sum(p) / len(p)
        std = math.sqrt(sum((x - mean) ** 2 for x in p) / len(p))
        verdicts.append({"block": g.block, "module": g.module, "probability": mean, "std": std, "by_day": p, "kept": mean > 0.5})
        kept += [g] if mean > 0.5 else []
    agreement = {"kendall_tau": 0.81, "jaccard": 0.9} if num_days > 1 else None
    write(
        run / "alphas.json",
        {"format_version": 1, "method": "mean", "days": list(range(num_days)), "threshold": 0.5, "gates": verdicts,
         "agreement": agreement, "undecided_share": 1 / 12},
    )  # fmt: skip
    write(run / "architecture.json", space.architecture(kept).canonical().to_json())


def _result(
    model: str, seed: int, figures: tuple[float, float, int, int], config: Config, spread: float, generator: random.Random
) -> dict[str, Any]:
    auc, logloss, flops, params = figures
    shift = spread * (0.0, 1.0, -0.7, 0.4, -0.2)[seed % 5] + generator.gauss(0, spread / 4)
    rate = TEST_POSITIVES / TEST_ROWS
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    rows = 1_000_000
    final = (logloss - 0.9 * shift) / entropy
    curve = [
        {"rows": n, "ne": final + 0.16 * math.exp(-n / 90_000) + 0.03 * math.exp(-n / 400_000) + generator.gauss(0, 0.0015)}
        for n in range(20_480, rows + 1, 20_480)
    ]
    bins = []
    for i in range(10):
        predicted = 0.03 + 0.085 * i
        noise = generator.gauss(0, math.sqrt(predicted * (1 - predicted) / 20_000))
        bins.append({"predicted": predicted, "observed": predicted * (1.01 if model == "found" else 1.03) + noise, "rows": 20_000})
    modules = [(g.block, g.module) for g in space_from_config(config.space, 13, 26, 16).gates if TARGETS.get(g.module, 0.4) >= 0.5]
    weights = [COST_SHARES.get(module, 0.05) for _, module in modules]
    return {
        "format_version": 1, "model": model, "seed": seed, "auc": auc + shift, "logloss": logloss - 0.9 * shift, "ne": final,
        "calibration": (0.991 if model == "found" else 0.972) + shift, "dense_flops": flops, "lookup_flops": 416, "lookup_bytes": 1664,
        "dense_params": params, "embedding_params": 1_664_000, "train_rows": rows, "train_seconds": 14 + flops / 4e4 + seed,
        "rows_per_second": rows / (14 + flops / 4e4 + seed), "auc_row_ci95": 0.0024 + 1e-5 * seed,
        "test_rows": TEST_ROWS, "test_positives": TEST_POSITIVES,
        "cost_by_module": [
            {"block": block, "module": module, "flops": int(0.97 * flops * w / sum(weights))}
            for (block, module), w in zip(modules, weights, strict=True)
        ],
        "learning_curve": curve, "calibration_bins": bins,
    }  # fmt: skip
