"""What searched days leave behind, as their later use needs it: what each was searched under, and the contents of files.

A day is searched by itself, so that its result may be carried into another run, such as next week's, as long as that would search the
same rows under the same settings. Times of files say nothing: they change when a run is copied. No torch, no numpy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json
from data_prep.shards import Manifest, day_folder
from recsys_nas.config import Config, ConfigError, config_values

SETTINGS, ROWS = "settings.json", "rows"
_SECTIONS = ("seed", "embedding.", "space.", "search.", "trials.")
# How days are joined, what is kept of checkpoints, and where tables lie, decide nothing of a day.
_OTHER_SETTINGS = (
    *("search.aggregation", "search.recency_half_life", "search.discretise", "search.threshold", "search.top_k", "search.checkpoint_"),
    *("embedding.sharding", "embedding.kernels", "embedding.min_partition", "embedding.tables", "embedding.plan", "embedding.device"),
    *("embedding.ranks_per_host", "embedding.hbm_gb", "embedding.ddr_gb", "embedding.pipeline"),
)


def searched_in(run: Path, day: int) -> Path:
    """The folder where the search of a day leaves all that it leaves."""
    return run / "days" / day_folder(day)


def day_result(run: Path, day: int, name: str) -> Path:
    """The file of that name that the search of a day leaves."""
    return searched_in(run, day) / name


def note_settings(run: Path, day: int, config: Config, manifest: Manifest) -> None:
    """Write down, before a day is searched, what it is searched under. Raises ConfigError where it was begun under something else."""
    check_settings(run, [day], config, manifest)
    path = day_result(run, day, SETTINGS)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"format_version": 1, "settings": _settings(config, manifest, day)})


def check_settings(run: Path, days: Sequence[int], config: Config, manifest: Manifest) -> None:
    """Raises ConfigError, naming the key, for a day in `run` that was begun under other settings than the config's, or on other rows than
    the manifest's. A day that does not say is passed over."""
    for day in days:
        path = day_result(run, day, SETTINGS)
        try:
            then = json.loads(path.read_text(encoding="utf-8"))["settings"].items() if path.exists() else ()
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise ConfigError(f"{path} is damaged ({error!r}); remove {path.parent} to search that day again") from error
        now = _settings(config, manifest, day)
        for key, value in then:
            if now.get(key, value) != value:
                what = f"{key} = {json.dumps(value)}, and this run has {json.dumps(now[key])}"
                was = f"on other rows than {config.data.shards} has of that day" if key == ROWS else f"with {what}"
                raise ConfigError(
                    f"{path.parent} was searched {was}: give both runs the same, or remove that folder to search the day again"
                )


def made_of(run: Path, days: Sequence[int], name: str) -> dict[str, str]:
    """SHA-256 of the file `name` that each of the days left, by day; without those that have none."""
    files = {str(day): day_result(run, day, name) for day in days}
    return {day: hashlib.sha256(path.read_bytes()).hexdigest() for day, path in files.items() if path.exists()}


def _settings(config: Config, manifest: Manifest, day: int) -> dict[str, Any]:
    """Every value of the config, by its key, that the result of a day depends on, and a digest of its rows, as plain JSON."""
    kept = {key: value for key, value in config_values(config) if key.startswith(_SECTIONS) and not key.startswith(_OTHER_SETTINGS)}
    entry = next((entry for entry in manifest.days if entry.day == day), None)
    rows = {ROWS: hashlib.sha256(json.dumps(asdict(entry), sort_keys=True).encode()).hexdigest()} if entry else {}
    plain: dict[str, Any] = json.loads(json.dumps(kept | rows))
    return plain
