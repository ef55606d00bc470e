"""What searched days leave behind, as their later use needs it: the settings that they were searched under, and the contents of files.

A day is searched by itself, so that its result may be carried into another run, such as next week's, as long as that would search it
under the same settings. Times of files say nothing: they change when a run is copied. No torch, no numpy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys_nas.config import Config, ConfigError, config_values

_SECTIONS = ("seed", "embedding.", "space.", "search.", "trials.")
# How days are joined, what is kept of checkpoints, and where tables lie, decide nothing of a day.
_OTHER_SETTINGS = (
    *("search.aggregation", "search.recency_half_life", "search.discretise", "search.threshold", "search.top_k", "search.checkpoint_"),
    *("embedding.sharding", "embedding.kernels", "embedding.min_partition", "embedding.tables", "embedding.plan", "embedding.device"),
    *("embedding.ranks_per_host", "embedding.hbm_gb", "embedding.ddr_gb", "embedding.pipeline"),
)


def day_result(run: Path, day: int, name: str) -> Path:
    """The file of that name that the search of a day leaves."""
    return run / "days" / f"day={day:02d}" / name


def settings_of_a_day(config: Config) -> dict[str, Any]:
    """Every value of the config, by its key, that the result of a day depends on, as plain JSON."""
    kept = {key: value for key, value in config_values(config) if key.startswith(_SECTIONS) and not key.startswith(_OTHER_SETTINGS)}
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain


def check_settings(path: Path, record: Mapping[str, Any], config: Config) -> None:
    """Raises ConfigError, naming the key, when the day whose `record` is in `path` was searched under other settings than the config's."""
    asked = settings_of_a_day(config)
    for key, value in record.get("settings", {}).items():
        if key in asked and asked[key] != value:
            raise ConfigError(
                f"{path} was searched with {key} = {json.dumps(value)}, and this run has {json.dumps(asked[key])}: "
                f"give both the same, or remove {path.parent} to search that day again"
            )


def made_of(run: Path, days: Sequence[int], name: str) -> dict[str, str]:
    """SHA-256 of the file `name` that each day left, by day. Raises OSError where there is none."""
    return {str(day): hashlib.sha256(day_result(run, day, name).read_bytes()).hexdigest() for day in days}
