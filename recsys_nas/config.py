"""The experiment as typed dataclasses: read from one TOML, overridable by `section.key=value`, strict about both.

A TOML names only what differs from the defaults below. Nothing here imports torch, so that the command line and
the controller start fast.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w

from data_prep.typed_toml import read_toml, typed
from embeddings.config import EmbeddingConfig
from recsys_nas.search.trial_settings import TrialsConfig
from recsys_nas.search_config import SearchConfig
from recsys_nas.space import NAMED_SPACES, SpaceRules
from recsys_nas.training.retraining import RetrainConfig


class ConfigError(ValueError):
    """A configuration a user wrote that cannot be used; its text is one line saying what, where and what to do."""


@dataclass(frozen=True)
class DataConfig:
    """Which shards, and which of their days serve for what. Days are written as `0-4` or `0,2,5`."""

    shards: str = "data/demo/shards"
    """Folder or URI of the shards, as `data-prep run` writes them."""
    search_days: str = "0-4"
    """Days to search, each by a job of its own."""
    train_days: str = "0-4"
    """Days that models are trained on from scratch."""
    valid_days: str = ""
    """Days that choose the epoch and cut the rates while retraining; none by default."""
    test_day: int = 5
    """The day that judges; it must be none of the others."""
    staging: str = ""
    """Folder on a disk of its own of each machine, to which a job copies the days it reads; empty: they are read where they lie."""
    truth: str = ""
    """Optional file with the Bayes-optimal figures, as `data-prep synth` writes it."""

    def __post_init__(self) -> None:
        if self.test_day < 0:
            raise ValueError(f"test_day = {self.test_day}: days are counted from 0")
        for name in ("search_days", "train_days", "valid_days"):
            value = getattr(self, name)
            if value or name != "valid_days":
                days = parse_days(value, f"data.{name}")
                if self.test_day in days:
                    raise ValueError(f"data.{name} = {value!r} holds the test day {self.test_day}: leave it out, or results are worthless")
        if both := sorted(set(self.validation) & set(parse_days(self.train_days, "data.train_days"))):
            raise ValueError(f"data.valid_days = {self.valid_days!r}: day {both[0]} is among data.train_days; take it out of one of them")

    @property
    def validation(self) -> tuple[int, ...]:
        """The validation days; none where there are none."""
        return parse_days(self.valid_days, "data.valid_days") if self.valid_days else ()


_OF_THE_SPACE: Any = None
"""Stands for the value that the named space has, until the config is made."""


@dataclass(frozen=True)
class SpaceConfig:
    """A named space; what is set here beside the name replaces that space's own rule (defaults below are those of `distdnas`)."""

    name: Literal["distdnas", "nasrec_small", "nasrec_full", "dhen"] = "distdnas"
    """The space whose rules hold where none is given below (`recsys_nas.space.NAMED_SPACES`)."""
    num_blocks: int = _OF_THE_SPACE
    dense_widths: tuple[int, ...] = _OF_THE_SPACE
    token_counts: tuple[int, ...] = _OF_THE_SPACE
    dense_modules: tuple[str, ...] = _OF_THE_SPACE
    sparse_modules: tuple[str, ...] = _OF_THE_SPACE
    pick: Literal["any", "one"] = _OF_THE_SPACE
    connect: Literal["all", "chain", "any"] = _OF_THE_SPACE
    max_sources: int = _OF_THE_SPACE
    merger_tokens: int = _OF_THE_SPACE
    head: Literal["all", "last"] = _OF_THE_SPACE
    stem: Literal["flat", "split"] = _OF_THE_SPACE
    normalisation: Literal["rms", "layer", "batch", "none"] = _OF_THE_SPACE
    linear_skip: bool = _OF_THE_SPACE

    def __post_init__(self) -> None:
        for field_ in dataclasses.fields(SpaceRules):
            if getattr(self, field_.name) is _OF_THE_SPACE:
                object.__setattr__(self, field_.name, getattr(NAMED_SPACES[self.name], field_.name))
        self.rules  # noqa: B018 - raises when they contradict each other

    @property
    def rules(self) -> SpaceRules:
        return SpaceRules(**{field_.name: getattr(self, field_.name) for field_ in dataclasses.fields(SpaceRules)})


@dataclass(frozen=True)
class LaunchConfig:
    """How jobs reach machines. One job is one day of search, or one model retrained."""

    scheduler: str = "local_cwd"
    """Where jobs run: `local_cwd` (this machine), `slurm`, `kubernetes`, or another one of TorchX."""
    scheduler_options: dict[str, str] = field(default_factory=dict)
    """What that scheduler is told, such as a partition; `torchx runopts` lists what each one knows."""
    max_parallel: int = 0
    """Jobs at once; 0 on a local scheduler: one per core that the machine has (or GPU, divided by nproc_per_node); GPUs in Docker: 1."""
    nnodes: int = 1
    """Nodes of one job. One is right as long as a day's model fits a node: between nodes, training may be six times slower."""
    nproc_per_node: int = 1
    """Processes, that is ranks, on each node of a job."""
    cpus: int = 1
    """Cores of each process."""
    gpus: int = 0
    """GPUs of each node of a job."""
    memory_mb: int = 4096
    """Memory of each node of a job."""
    resource: str = ""
    """A TorchX named resource, which then says cpus, gpus and memory_mb of a node, and nproc_per_node where it has GPUs."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of every job, such as NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME."""
    image: str = ""
    """Container image of the jobs, where the scheduler runs containers."""
    mounts: tuple[str, ...] = ()
    """Volumes of those containers, each as TorchX writes them: "type=volume,src=shared,dst=/shared"."""
    min_days: int = 0
    """Days that must succeed for their architecture to be derived when others fail for good; 0: all of them."""
    timeout_minutes: float = 120.0
    """How long one attempt of a job may run before it is ended and counts as failed."""
    collective_timeout_minutes: float = 10.0
    """How long a rank waits for the others before it fails, when one of them hangs."""
    retries: int = 1
    """How often a failed job is tried again; one that failed for a mistake of the user's is not."""

    def __post_init__(self) -> None:
        _positive(self, "launch", "nnodes", "nproc_per_node", "cpus", "memory_mb", "timeout_minutes", "collective_timeout_minutes")
        if min(self.max_parallel, self.retries, self.gpus, self.min_days) < 0:
            raise ValueError("launch.max_parallel, launch.retries, launch.gpus and launch.min_days must be 0 or more")


@dataclass(frozen=True)
class Config:
    """One experiment, from search to report."""

    name: str
    """Of the run; its folder is `<output>/<name>`."""
    seed: int = 0
    """Of the search: weights, gates' noise and order of rows. Trainings have theirs in `retrain.seeds`."""
    output: str = "runs"
    """Folder that holds run folders."""
    data: DataConfig = field(default_factory=DataConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    trials: TrialsConfig = field(default_factory=TrialsConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name in ("", ".."):
            raise ValueError(f"name = {self.name!r}: must be the name of a folder in `output`, without slashes")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}: must be 0 or more")
        if self.retrain.progressive:
            parse_days(self.retrain.progressive, "retrain.progressive")
        if self.retrain.heeds_validation and not self.data.valid_days:
            raise ValueError("retrain.patience and retrain.lr_cut go by validation days: name some in data.valid_days, or leave both out")

    @property
    def run_folder(self) -> Path:
        return Path(self.output) / self.name


def parse_days(text: str, where: str) -> tuple[int, ...]:
    """`"0-2,5"` -> `(0, 1, 2, 5)`. Raises ValueError naming `where` on anything else, an empty set included."""
    days: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", piece)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ValueError(f"{where} = {text!r}: write days as '0-4' or '0,2,5'")
        days.update(range(first, last + 1))
    return tuple(sorted(days))


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML file and apply `section.key=value` overrides (values in TOML syntax; bare words are strings).

    Raises ConfigError, one line, for a missing or malformed file, an unknown key, a wrong type or a bad value.
    """
    path = Path(path)
    raw = read_toml(path, "config", "configs/demo.toml", ConfigError)
    for override in overrides:
        _apply(raw, override)
    raw.setdefault("name", path.stem)
    return from_mapping(raw, where=str(path))


def from_mapping(raw: Mapping[str, Any], where: str) -> Config:
    """Build a Config from plain values; raises ConfigError as `load_config` does."""
    return typed(raw, Config, where, ConfigError)


def to_toml(config: Config) -> str:
    """The resolved config, every default written out; `load_config` reads it back to an equal Config."""
    return tomli_w.dumps(json.loads(json.dumps(dataclasses.asdict(config))))


def config_values(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config by its whole key, such as `search.batch_size`; `retrain.sizes` as plain values by model."""
    for field_ in dataclasses.fields(section):
        value, key = getattr(section, field_.name), prefix + field_.name
        if dataclasses.is_dataclass(value):
            yield from config_values(value, f"{key}.")
        elif isinstance(value, dict):
            yield key, {name: vars(one) if dataclasses.is_dataclass(one) else one for name, one in value.items()}
        else:
            yield key, value


def _positive(config: Any, section: str, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{section}.{name} = {getattr(config, name)}: must be finite and above 0")


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: write it as section.key=value, for example search.batch_size=1024")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"override {override!r}: {section} is a value, not a section")
    raw[last] = value
