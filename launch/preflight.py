"""What can be wrong with a run is said before anything starts: in one line, and not by the first job an hour later."""

from __future__ import annotations

import difflib
from pathlib import Path

from torchx.schedulers import get_scheduler_factories

from data_prep.errors import DataError
from data_prep.shards import Manifest, open_manifest
from data_prep.staging import check_staging
from launch.errors import LaunchError
from launch.jobs import CONTAINERS
from recsys_nas.config import Config, ConfigError, LaunchConfig, parse_days
from recsys_nas.judged_days import check_judged_days
from recsys_nas.report.records import read_record
from recsys_nas.search.day_results import check_settings
from recsys_nas.search.discretise import discretisation
from recsys_nas.space import space_from_config
from recsys_nas.zoo.architectures import ARCHITECTURES
from recsys_nas.zoo.catalogue import RUN_MODELS


def check(config: Config) -> None:
    """Raises LaunchError for data, modules, models or a scheduler that `config` names and that are not there."""
    try:
        manifest = open_manifest(config.data.shards)
        check_staging(config.data.shards, manifest, config.data.staging)
    except DataError as error:
        raise LaunchError(f"data.shards = {config.data.shards!r}: {error}") from error
    _check_days(config, manifest)
    _check_searched_days(config, manifest)
    schema = manifest.schema
    try:
        space = space_from_config(config.space, len(schema.dense), len(schema.categorical), config.embedding.dim)
        if config.search.strategy == "dnas":
            space.gates  # noqa: B018 - raises where the space has none
            if config.search.target_flops:
                discretisation(space, config.search).check_target()
    except ValueError as error:
        raise LaunchError(str(error)) from error
    for model in config.retrain.models:
        _check_published(config, model, len(schema.dense), len(schema.categorical))
        _check_name("retrain.models", model, (*RUN_MODELS, *config.retrain.sizes))
    for name, sizes in config.retrain.sizes.items():
        _check_name(f"retrain.sizes.{name}", sizes.model or name, RUN_MODELS)
    try:
        check_judged_days(config, manifest)
        if config.data.truth:
            read_record(Path(config.data.truth), ("bayes",), "name the truth.json that `data-prep synth` wrote, or set data.truth = ''")
    except ConfigError as error:
        raise LaunchError(str(error)) from error
    _check_name("launch.scheduler", config.launch.scheduler, tuple(get_scheduler_factories()))
    _check_launch(config.launch, len(parse_days(config.data.search_days, "data.search_days")))


def _check_searched_days(config: Config, manifest: Manifest) -> None:
    """Days may have been carried over from another run: better to learn now that they do not go together than when all are searched. A run
    that has begun is held to its own config by its provenance."""
    if not (config.run_folder / "config.toml").exists():
        try:
            check_settings(config.run_folder, parse_days(config.data.search_days, "data.search_days"), config, manifest)
        except ConfigError as error:
            raise LaunchError(str(error)) from error


def _check_published(config: Config, model: str, num_dense: int, num_sparse: int) -> None:
    """Before the search is paid for; what a model's own layers refuse, its job says."""
    sizes = config.retrain.sizes.get(model)
    if published := ARCHITECTURES.get((sizes and sizes.model) or model):
        try:
            published(num_dense, num_sparse, config.embedding.dim)
        except ValueError as error:
            raise LaunchError(f"retrain.models: {model!r} cannot be built of these features: {error}") from error


def _check_launch(launch: LaunchConfig, days: int) -> None:
    if launch.scheduler in CONTAINERS and not launch.image:
        raise LaunchError(f"launch.image is empty: {launch.scheduler} runs containers; name an image built by the project's Dockerfile")
    if 0 < launch.gpus < launch.nproc_per_node:
        raise LaunchError(
            f"launch.nproc_per_node = {launch.nproc_per_node}, launch.gpus = {launch.gpus}: each process needs a GPU of its own, or all "
            f"would run on the CPU; launch.gpus={launch.nproc_per_node}, or launch.gpus=0"
        )
    if launch.min_days > days:
        raise LaunchError(f"launch.min_days = {launch.min_days}: data.search_days has only {days}; 0 stands for all of them")


def _check_days(config: Config, manifest: Manifest) -> None:
    there = [entry.day for entry in manifest.days]
    listed = ", ".join(map(str, there)) or "none"
    days_of = {f"data.{key}": str(getattr(config.data, key)) for key in ("search_days", "train_days", "valid_days", "test_day")}
    for key, value in (days_of | {"retrain.progressive": config.retrain.progressive}).items():
        days = parse_days(value, key) if value else ()
        if missing := [str(day) for day in days if day not in there]:
            named = f"day {missing[0]}" if len(missing) == 1 else f"days {', '.join(missing)}"
            raise LaunchError(
                f"{key} = {value!r}: {named} not in {config.data.shards}, which has {listed}; "
                f"make the shards with `data-prep run`, or name other days"
            )


def _check_name(key: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise LaunchError(f"{key}: there is no {name!r}; {hint}")
