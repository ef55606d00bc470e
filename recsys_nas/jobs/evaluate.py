"""Judge a trained model on days that it has, or has not, been judged on: AUC, log loss, NE and calibration, with intervals over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data_prep.atomic import write_json
from recsys_nas.config import ConfigError
from recsys_nas.jobs.assembly import Run, read_json
from recsys_nas.jobs.environment import Ranks
from recsys_nas.serving.quantised import trained_model
from recsys_nas.training.metrics import Quality, calibration_bins, judge
from recsys_nas.training.roc import Roc
from recsys_nas.training.trainer import predict

FORMAT_VERSION = 1


def evaluate(run: Run, model: str, seed: int, days: Sequence[int], ranks: Ranks) -> dict[str, Any]:
    """What is in `<run>/evaluate/<model>/seed=S/days=D,D.json`, made where it is not there yet: figures of all days and of each.

    Raises ConfigError when the model has not been trained, or by days in turn, so that no model is left that has seen all of them.
    """
    path = run.folder / "evaluate" / model / f"seed={seed}" / f"days={','.join(map(str, days))}.json"
    if path.exists():
        return read_json(path)
    if run.config.retrain.progressive:
        raise ConfigError("this run trains a model for each of retrain.progressive's days; evaluate needs one with that left empty")
    trained = trained_model(run, model, seed)
    rocs = [Roc.of(*predict(trained, run.reader([day], ranks, run.config.retrain.batch_size, None), ranks.device)) for day in days]
    together = Roc.merge(rocs)
    record = {
        "format_version": FORMAT_VERSION,
        "model": model,
        "seed": seed,
        "days": list(days),
        **asdict(judge(together)),
        "by_day": [{"day": day} | asdict(judge(roc)) for day, roc in zip(days, rocs, strict=True)],
        "calibration_bins": [asdict(group) for group in calibration_bins(together)],
    }
    write_json(path, record)
    return record


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
