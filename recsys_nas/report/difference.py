"""`recsys-nas diff`: what changed from one run to another in config, architecture and results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from data_prep.wording import counted
from recsys_nas.config import config_values, load_config
from recsys_nas.report.architecture_text import reads, sources_text
from recsys_nas.report.mermaid import stem
from recsys_nas.report.quantities import count, share, signed
from recsys_nas.report.records import Record, read_record
from recsys_nas.space import Architecture, load_architecture

_FIGURES = ("auc", "logloss", "ne", "calibration", "dense_flops", "lookup_bytes", "dense_params", "train_seconds")


def difference(first: Path, second: Path) -> dict[str, Any]:
    """What differs, as plain values: `config` by key, `architecture` by block and module, `results` by model and figure.

    Each change holds `first` and `second`; a part that one of the runs does not have is None. Raises ConfigError for a damaged record.
    """
    return {
        "first": str(first),
        "second": str(second),
        "config": _config(first, second),
        "architecture": _architecture(first, second),
        "results": _results(first, second),
    }


def _config(first: Path, second: Path) -> list[Record]:
    before, after = (dict(config_values(load_config(run / "config.toml"))) for run in (first, second))
    return [{"key": key, "first": before[key], "second": after[key]} for key in before if before[key] != after[key]]


def _architecture(first: Path, second: Path) -> Record | None:
    paths = [run / "architecture.json" for run in (first, second)]
    if not all(path.exists() for path in paths):
        return None
    before, after = map(load_architecture, paths)
    lines = [_parts(architecture) for architecture in (before, after)]
    return {
        "same": before.key() == after.key(),
        "removed": [line for line in lines[0] if line not in lines[1]],
        "added": [line for line in lines[1] if line not in lines[0]],
    }


def _parts(architecture: Architecture) -> list[str]:
    """Everything that makes the network, a line each."""
    network = architecture.canonical()
    lines = [
        f"stem: {stem(network)}; {network.stem}",
        f"normalisation {network.normalisation}",
        f"head reads {sources_text(network.head)}{', and the raw stem by a linear skip' if network.linear_skip else ''}",
    ]
    for number, block in enumerate(network.blocks, start=1):
        if block.dense_width:
            lines.append(f"block {number}: {counted(block.dense_width, 'feature')}")
        if block.tokens_out:
            lines.append(f"block {number}: {counted(block.tokens_out, 'token')}")
        for module in block.modules:
            lines.append(f"block {number}: {module.name} reads {reads(module)}")
    return lines


def _results(first: Path, second: Path) -> Record | None:
    paths = [run / "results.json" for run in (first, second)]
    if not all(path.exists() for path in paths):
        return None
    before, after = (read_record(path, ("models", "test"), f"run `recsys-nas compare {path.parent}`") for path in paths)
    models = [{model["name"]: model for model in results["models"]} for results in (before, after)]
    both = [name for name in models[0] if name in models[1]]
    tests = [{key: results["test"][key] for key in ("day", "rows", "positives")} for results in (before, after)]
    return {
        "same_test_rows": tests[0] == tests[1],
        "tests": tests,
        "only_first": [name for name in models[0] if name not in models[1]],
        "only_second": [name for name in models[1] if name not in models[0]],
        "models": {name: _changes(models[0][name], models[1][name]) for name in both},
    }


def _changes(before: Record, after: Record) -> dict[str, Record]:
    """Each figure in both, its change, and where there are seeds the half-width of the change's 95 % interval."""
    changes = {}
    for name in _FIGURES:
        change: Record = {"first": before[name], "second": after[name], "change": after[name] - before[name]}
        halves = (before.get(f"{name}_ci95"), after.get(f"{name}_ci95"))
        if halves[0] is not None and halves[1] is not None:
            # a little wide: each half-width already has few degrees of freedom in it
            change["change_ci95"] = math.hypot(halves[0], halves[1])
        changes[name] = change
    return changes


def difference_text(found: Record) -> str:
    """The same in lines for the terminal."""
    lines = [f"{found['first']} -> {found['second']}", "", "config"]
    lines += [f"  {c['key']}: {_plain(c['first'])} -> {_plain(c['second'])}" for c in found["config"]] or ["  the same"]
    lines += ["", "architecture", *_architecture_lines(found["architecture"])]
    lines += ["", "results (means over seeds, ± 95 %)", *_result_lines(found["results"])]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return json.dumps(value)


def _architecture_lines(changed: Record | None) -> list[str]:
    if changed is None:
        return ["  one of the runs has no architecture.json yet"]
    if changed["same"]:
        return ["  the same"]
    return [*(f"  - {line}" for line in changed["removed"]), *(f"  + {line}" for line in changed["added"])]


def _result_lines(results: Record | None) -> list[str]:
    if results is None:
        return ["  one of the runs has no results.json yet; `recsys-nas compare` makes it"]
    lines = [] if results["same_test_rows"] else ["  tested on other rows: the changes below are not those of a model alone"]
    for name, changes in results["models"].items():
        moved = [f"{label} {_moved(figure, changes[figure])}" for figure, label in _LABELS.items()]
        lines.append(f"  {name}: {'; '.join(moved)}")
    for where in ("first", "second"):
        if names := results[f"only_{where}"]:
            lines.append(f"  only in the {where}: {', '.join(names)}")
    return lines


_LABELS = {"auc": "AUC", "logloss": "log loss", "dense_flops": "dense FLOPs"}


def _moved(figure: str, change: Record) -> str:
    before, after = change["first"], change["second"]
    if figure == "dense_flops":
        ratio = f" ({share(after / before)})" if before and before != after else ""
        return f"{count(before)} -> {count(after)}{ratio}"
    half = f" ± {change['change_ci95']:.4f}" if "change_ci95" in change else ""
    return f"{before:.4f} -> {after:.4f} ({signed(change['change'])}{half})"
