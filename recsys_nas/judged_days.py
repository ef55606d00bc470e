"""Days that models are judged on must hold clicks and non-clicks, or there is no AUC: said before anything is trained. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from data_prep.shards import Manifest
from data_prep.wording import counted
from recsys_nas.config import Config, ConfigError, parse_days


def scored_days(config: Config) -> tuple[int, ...]:
    """The days that retraining scores: the test day, or those of `retrain.progressive`, in order."""
    if not config.retrain.progressive:
        return (config.data.test_day,)
    return parse_days(config.retrain.progressive, "retrain.progressive")


def days_before(config: Config, day: int) -> tuple[int, ...]:
    """The training days for a model that is judged on `day`."""
    days = parse_days(config.data.train_days, "data.train_days")
    return tuple(other for other in days if other < day) if config.retrain.progressive else days


def check_judged_days(config: Config, manifest: Manifest) -> None:
    """Raises ConfigError for days to be judged on that hold one class only, have no training day before them, or come before a day that
    chooses among epochs."""
    for day in scored_days(config):
        if not days_before(config, day):
            days = config.data.train_days
            raise ConfigError(
                f"retrain.progressive = {config.retrain.progressive!r}: no day of data.train_days = {days!r} comes before {day}"
            )
    if config.retrain.progressive and config.data.validation and max(config.data.validation) >= min(scored_days(config)):
        raise ConfigError(
            f"data.valid_days = {config.data.valid_days!r}: each must come before the days that are scored, "
            f"retrain.progressive = {config.retrain.progressive!r}, or models are chosen by the clicks that judge them"
        )
    scored = "retrain.progressive" if config.retrain.progressive else "data.test_day"
    for key, judged in (*((scored, (day,)) for day in scored_days(config)), ("data.valid_days", config.data.validation)):
        if judged:
            check_both_classes(key, judged, manifest)


def check_both_classes(key: str, days: Sequence[int], manifest: Manifest) -> None:
    """Raises ConfigError, naming `key`, where these days together hold clicks only, or none."""
    entries = [manifest.day(day) for day in days]
    rows, positives = sum(entry.rows for entry in entries), sum(entry.positives for entry in entries)
    if positives in (0, rows):
        named = f"day {days[0]}" if len(days) == 1 else f"days {', '.join(map(str, days))}"
        only = "clicks" if positives else "rows without a click"
        raise ConfigError(
            f"{key}: {named} of the data hold {counted(rows, 'row')}, and {only} only, so that no AUC is defined; name another day"
        )
