"""What a run was started with: config.toml and run.json, written before its first job so that every number can be traced.

No torch here: versions come from package metadata, so the controller starts fast.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from data_prep.atomic import write_json, write_text
from data_prep.errors import DataError
from data_prep.shards import open_manifest
from recsys_nas.config import Config, ConfigError, config_values, load_config, to_toml

FORMAT_VERSION = 1
PACKAGES = {
    "recsys-nas": ("recsys-nas",),
    "torch": ("torch",),
    "torchrec": ("torchrec",),
    "fbgemm": ("fbgemm-gpu", "fbgemm-gpu-cpu"),
    "torchx": ("torchx",),
    "numpy": ("numpy",),
    "numba": ("numba",),
}
"""Name in run.json to the distributions that may provide it."""

FREE_KEYS = ("launch.", "output", "retrain.models", "retrain.seeds", "retrain.random_controls", "data.truth")
"""Keys that change where jobs run, where files lie, or which results there are, but no result; they may differ when a run goes on."""


def versions() -> dict[str, str]:
    """Installed version of each package a result may depend on; those not installed are left out."""
    found = {}
    for name, candidates in PACKAGES.items():
        for candidate in candidates:
            try:
                found[name] = metadata.version(candidate)
            except metadata.PackageNotFoundError:
                continue
            break
    return found


def write_provenance(run: Path, config: Config, command: list[str]) -> None:
    """Write `run`/config.toml, the resolved config, and `run`/run.json: when, how, by which code and on what it was started.

    A run folder of the same config is continued: its run.json keeps the first record, and gets one more under `continued`
    if the command, the code, the packages or the data have changed. Raises ConfigError when the folder holds a run of another config.
    """
    refuse_other_config(run, config, f"give the new run another name (the override name=...), or remove {run}")
    now = _record(config, command)
    path = run / "run.json"
    try:
        first = json.loads(path.read_text(encoding="utf-8"))
        last = [first, *first["continued"]][-1]
        if any(last.get(key) != now[key] for key in ("command", "git_commit", "git_dirty", "versions", "manifest_sha256")):
            first["continued"].append(now)
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        first = {**now, "continued": []}  # a first start, or a record nobody can read any more
    write_json(path, first)
    write_text(run / "config.toml", to_toml(config))


def _record(config: Config, command: list[str]) -> dict[str, Any]:
    commit, dirty = _git_state(Path(__file__))
    return {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seed": config.seed,
        "manifest_sha256": _manifest_sha256(config.data.shards),
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
    }


def _manifest_sha256(shards: str) -> str | None:
    """A checksum of the data: of the shards' manifest, which holds those of all their files; None where there is none yet."""
    try:
        manifest = open_manifest(shards)
    except (DataError, OSError):
        return None
    return hashlib.sha256(json.dumps(manifest.to_json(), sort_keys=True).encode()).hexdigest()


def _git_state(source: Path) -> tuple[str | None, bool | None]:
    """The commit of the repository that tracks the file `source`, and whether its tree differs from it; None, None outside one."""
    if _git(source, "ls-files", "--error-unmatch", source.name) is None:
        return None, None  # installed into an environment that may lie inside somebody else's repository
    commit = _git(source, "rev-parse", "HEAD")
    return commit, bool(_git(source, "status", "--porcelain"))


def _git(source: Path, *arguments: str) -> str | None:
    try:
        finished = subprocess.run(["git", *arguments], cwd=source.parent, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() if finished.returncode == 0 else None


def refuse_other_config(run: Path, config: Config, way_out: str) -> None:
    """Raises ConfigError, its line ending in `way_out`, when the folder holds a run of another config, but for FREE_KEYS."""
    path = run / "config.toml"
    if not path.exists():
        return
    try:
        old = dict(config_values(load_config(path)))
    except ConfigError as error:
        raise ConfigError(f"{error}; this file was written by the run that is in {run}, which cannot be continued: {way_out}") from error
    for key, value in config_values(config):
        if not key.startswith(FREE_KEYS) and old[key] != value:
            raise ConfigError(f"{run} was started with {key} = {json.dumps(old[key])} and is now asked for {json.dumps(value)}: {way_out}")
