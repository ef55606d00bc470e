"""Gathers the retrained models of a run into results.json: means over seeds, their intervals, and pairings with `found`."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json
from data_prep.wording import counted
from recsys_nas.config import Config, ConfigError, load_config, parse_days
from recsys_nas.judged_days import scored_days
from recsys_nas.report.intervals import auc_sampling95, half_width95
from recsys_nas.report.records import FOUND, RESULT_COSTS, RESULT_MEANS, Record, read_controls, read_days, read_record, read_retrain

FORMAT_VERSION = 1


def write_results(run: Path) -> dict[str, Any]:
    """Write `<run>/results.json` and return what it holds.

    Metrics are means over seeds; `*_ci95` are half-widths of 95 % intervals over seeds, None with one seed, and `auc_row_ci95` is
    that of one model over rows of the test day (DeLong et al., 1988). `random`: `found` among the random controls. Models stand
    with `found` first, then by AUC. Raises ConfigError, one line, for a missing or inconsistent result.
    """
    config = load_config(run / "config.toml")
    retrain = read_retrain(run, config)
    test = _test_set(run, config, retrain)
    notes = _notes(config, test)
    bayes = _bayes(config, test, notes)
    found = _summary(run, FOUND, retrain[FOUND])
    others = [
        _summary(run, name, records) | {"vs_found": _paired(retrain[FOUND], records)} for name, records in retrain.items() if name != FOUND
    ]
    others.sort(key=lambda model: -model["auc"])
    test["auc_sampling_ci95"] = auc_sampling95(found["auc"], test["positives"], test["rows"] - test["positives"])
    controls = read_controls(run, config)
    if lacking := len(config.retrain.controls) - len(controls):
        asked = counted(len(config.retrain.controls), "random network")
        notes.append(f"Of {asked} asked for at the found one's FLOPs, {lacking} could not be trained; the logs of these jobs say why.")
    results = {
        "format_version": FORMAT_VERSION,
        "bayes": bayes,
        "models": [found, *others],
        "random": _random(retrain[FOUND][0], controls),
        "search": _search(read_days(run, config)),
        "test": test,
        "notes": notes,
    }
    write_json(run / "results.json", results)
    return results


def _notes(config: Config, test: Record) -> list[str]:
    """What a reader must know of days that were judged on and looked at before."""
    if seen := sorted(set(test["days"]) & set(parse_days(config.data.search_days, "data.search_days"))):
        listed = ", ".join(map(str, seen))
        return [f"Days {listed} are judged on and were searched too: the found architecture has seen their clicks, other models have not."]
    return []


def _summary(run: Path, name: str, records: list[Record]) -> Record:
    """One row of the comparison, from one record a seed."""
    columns = {field: [record[field] for record in records] for field in (*RESULT_MEANS, *RESULT_COSTS)}
    for field in RESULT_COSTS:
        if len(set(columns[field])) > 1:
            raise ConfigError(
                f"{run}: {field} of model {name} differs between its seeds, so they are not one network; "
                f"delete {run / 'retrain' / name} and run `recsys-nas retrain {run} --model {name}`"
            )
    return {
        "name": name,
        "seeds": [record["seed"] for record in records],
        **{field: statistics.fmean(columns[field]) for field in RESULT_MEANS},
        **{field: columns[field][0] for field in RESULT_COSTS},
        **{f"{field}_by_seed": columns[field] for field in ("auc", "logloss", "ne")},
        **{f"{field}_ci95": half_width95(columns[field]) for field in ("auc", "logloss", "ne")},
        "auc_row_ci95": _mean([record.get("auc_row_ci95") for record in records]),
    }


def _mean(values: list[float | None]) -> float | None:
    """None where any of them is: a day of one click has no interval."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _random(found: Record, controls: list[Record]) -> Record | None:
    """How the found network stands among random ones at its cost, all of one seed; None where none were trained."""
    if not controls:
        return None
    aucs = [record["auc"] for record in controls]
    below = sum((found["auc"] > auc) + 0.5 * (found["auc"] == auc) for auc in aucs)
    return {
        "count": len(aucs),
        "seed": found["seed"],
        "percentile_vs_random": 100 * below / len(aucs),
        "found_auc": found["auc"],
        "auc_mean": statistics.fmean(aucs),
        "auc_median": statistics.median(aucs),
        "auc_best": max(aucs),
        "auc": aucs,
        "dense_flops": [record["dense_flops"] for record in controls],
    }


def _paired(found: list[Record], other: list[Record]) -> Record:
    """`found` minus the other model, seed by seed, so that what a seed does to both drops out of the interval."""
    pairing: Record = {"seeds": [record["seed"] for record in other]}
    for field in ("auc", "logloss"):
        differences = [mine[field] - theirs[field] for mine, theirs in zip(found, other, strict=True)]
        pairing[f"{field}_diff"] = statistics.fmean(differences)
        pairing[f"{field}_diff_ci95"] = half_width95(differences)
    for field in ("dense_flops", "lookup_bytes"):
        pairing[f"{field}_ratio"] = found[0][field] / other[0][field] if other[0][field] else None
    return pairing


def _test_set(run: Path, config: Config, retrain: dict[str, list[Record]]) -> Record:
    """Rows and positives of the test day, on which all results must agree to be comparable at all."""
    reference = retrain[FOUND][0]
    for name, records in retrain.items():
        for record in records:
            if (record["test_rows"], record["test_positives"]) != (reference["test_rows"], reference["test_positives"]):
                raise ConfigError(
                    f"{run}: model {name}, seed {record['seed']} was tested on {record['test_rows']} rows and {FOUND} on "
                    f"{reference['test_rows']}; delete {run / 'retrain' / name} and run `recsys-nas retrain {run} --model {name}`"
                )
    days = list(scored_days(config))
    return {"day": days[-1], "days": days, "rows": reference["test_rows"], "positives": reference["test_positives"]}


def _bayes(config: Config, test: Record, notes: list[str]) -> Record | None:
    """The best any model can reach on the test day, where the data come with their truth."""
    if not config.data.truth:
        return None
    remedy = "write it again with `data-prep synth`, or set data.truth = ''"
    truth = read_record(Path(config.data.truth), ("bayes",), remedy)
    bayes = truth["bayes"]
    if test["days"] != [bayes.get("day")]:
        judged = f"the test day is {test['day']}" if len(test["days"]) == 1 else f"days {test['days'][0]} to {test['day']} are judged"
        notes.append(f"{config.data.truth} tells the Bayes-optimal figures of day {bayes.get('day')}, but {judged}: they are left out.")
        return None
    rate = test["positives"] / test["rows"]
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) if 0 < rate < 1 else 0.0
    return {
        "auc": bayes["auc"],
        "logloss": bayes["logloss"],
        "ne": bayes["logloss"] / entropy if entropy else None,
        "by_order": truth.get("bayes_by_order", {}),
    }


def _search(days: list[Record]) -> Record:
    """What the search cost. Days run side by side, so the longest one is the wait and the sum is the bill."""
    seconds = [record["seconds"] for record in days]
    return {
        "days": [record["day"] for record in days],
        "seconds_total": sum(seconds),
        "seconds_longest_day": max(seconds),
        "rows": sum(record["rows"] for record in days),
        "by_day": [{"day": record["day"], "rows": record["rows"], "seconds": record["seconds"]} for record in days],
    }
