"""Judge a trained model on days that it has, or has not, been judged on: AUC, log loss, NE and calibration, with intervals over rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json
from recsys_nas.jobs.assembly import Run, read_json
from recsys_nas.jobs.environment import Ranks
from recsys_nas.judged_days import check_both_classes
from recsys_nas.serving.quantised import CPU, check_trained, trained_model
from recsys_nas.training.metrics import Quality, calibration_bins, judge
from recsys_nas.training.roc import Roc
from recsys_nas.training.trainer import predict

FORMAT_VERSION = 1


def evaluate(run: Run, model: str, seed: int, days: Sequence[int], ranks: Ranks) -> dict[str, Any]:
    """What is in `<run>/evaluate/<model>/seed=S/days=D-D,D.json`, made where it is not there yet or of an earlier training: figures of
    all days and of each.

    Raises ConfigError when the model has not been trained, or by days in turn, so that no model is left that has seen all of them, and
    for a day of one class.
    """
    path = run.folder / "evaluate" / model / f"seed={seed}" / f"days={_ranges(days)}.json"
    training = _fingerprint(run.folder / "retrain" / model / f"seed={seed}" / "result.json")
    if (record := _known(path)).get("training") == training and record.get("days") == list(days):
        check_trained(run, model, seed)
        return record
    for day in days:
        check_both_classes("--days", [day], run.manifest)
    trained = trained_model(run, model, seed)
    rocs = [Roc.of(*predict(trained, run.reader([day], ranks, run.config.retrain.batch_size, None), CPU)) for day in days]
    together = Roc.merge(rocs)
    record = {
        "format_version": FORMAT_VERSION,
        "model": model,
        "seed": seed,
        "days": list(days),
        "training": training,
        **asdict(judge(together)),
        "by_day": [{"day": day} | asdict(judge(roc)) for day, roc in zip(days, rocs, strict=True)],
        "calibration_bins": [asdict(group) for group in calibration_bins(together)],
    }
    write_json(path, record)
    return record


def _ranges(days: Sequence[int]) -> str:
    """`0-2,7`: a name has 255 bytes, and a hundred days have more digits than that."""
    starts = [day for day, before in zip(days, (None, *days), strict=False) if before is None or day != before + 1]
    ends = [day for day, after in zip(days, (*days[1:], None), strict=True) if after is None or after != day + 1]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _known(path: Path) -> dict[str, Any]:
    """What is there; nothing where it cannot be read, and is made again."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def _fingerprint(result: Path) -> str | None:
    """Of a training's result, so that figures of one that was done anew are not taken for the present one's; None without a result."""
    return hashlib.sha256(result.read_bytes()).hexdigest() if result.exists() else None


def evaluation_text(record: dict[str, Any]) -> str:
    """A line a day, and one for all of them."""
    lines = [f"{record['model']}, seed {record['seed']}; ± 95 % over rows"]
    lines += [f"{'day ' + str(figures['day']):<10} {_line(figures)}" for figures in record["by_day"]]
    return "\n".join(lines if len(record["days"]) == 1 else [*lines, f"{'all':<10} {_line(record)}"])


def _line(figures: dict[str, Any]) -> str:
    quality = Quality(**{name: figures[name] for name in Quality.__dataclass_fields__})
    shown = (("AUC", "auc"), ("log loss", "logloss"), ("NE", "ne"), ("calibration", "calibration"))
    values = (f"{label} {getattr(quality, name):.4f}{_interval(getattr(quality, name + '_row_ci95'))}" for label, name in shown)
    return f"{'  '.join(values)}  {quality.rows:,} rows, {quality.positives:,} clicks"


def _interval(width: float | None) -> str:
    return "" if width is None else f" ± {width:.4f}"
