"""Saving a training job so that a kill at any moment costs little, and its resumption gives the same result.

Tensors go through torch.distributed.checkpoint (DCP), which knows sharded tables and loads them into any other plan and
world size; everything else is JSON beside them. A checkpoint is written to a side folder, with a checksum of each file, and
renamed: a half-written one is never found, and a damaged one is recognised and passed over. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed.checkpoint.api import CheckpointException

from data_prep.atomic import write_json
from embeddings.first_rank import on_first_rank
from recsys_nas.config import ConfigError
from recsys_nas.training.tensor_files import CONTENTS, TensorReader, TensorWriter

T = TypeVar("T")

_log = logging.getLogger(__name__)

FORMAT_VERSION = 2
RANDOM_STATE = "rng."
"""How the names of random states begin, which end in their rank."""
_STATE, _CHECKSUMS, _TENSORS = "state.json", "checksums.json", "tensors"


class Saveable(Protocol):
    """What a checkpoint holds: tensors by name, which loading fills in place, and plain values."""

    def tensors(self) -> dict[str, Any]: ...

    def values(self) -> dict[str, Any]: ...

    def check(self, values: dict[str, Any], where: str) -> None:
        """Raise ConfigError unless a job with these values can go on here."""
        ...

    def restored(self, values: dict[str, Any], tensors: dict[str, Any]) -> None:
        """Take over the plain values; `tensors` are those of `tensors()` that were filled."""
        ...


@dataclass(frozen=True)
class Retention:
    """Which checkpoints to keep: the newest `last`, and where `best` names a figure the one where it is lowest (an AUC: highest).

    `every_steps` 0 saves only at the end.
    """

    every_steps: int
    last: int = 2
    best: str = ""


class Checkpointer:
    """The checkpoints of one job, in `<folder>/step=NNNNNNNN/`. Every rank calls every method."""

    def __init__(self, folder: Path, retention: Retention) -> None:
        self.folder = folder
        self.retention = retention

    def load(self, job: Saveable) -> bool:
        """Restore the newest whole checkpoint, with a warning for each damaged one before it; False on a fresh start.

        Raises ConfigError when a checkpoint is whole but of another job (`Saveable.check`).
        """
        checkpoint = self._newest_whole()
        if checkpoint is None:
            return False
        values = on_first_rank(lambda: read_state(checkpoint)["values"])
        job.check(values, str(checkpoint))
        job.restored(values, _fill(job.tensors(), checkpoint))
        return True

    def load_weights(self, model: nn.Module, best: bool = False) -> bool:
        """Fill `model`, sharded or not, with the weights of the newest whole checkpoint, or of the `best` one; the rest of the job
        stays where it is.

        False when there is none. Raises ConfigError when it is of another model, or the best one is damaged.
        """
        checkpoint = on_first_rank(self.best) if best else self._newest_whole()
        if checkpoint is None:
            return False
        if best:
            self._require_whole(checkpoint, ", the best epoch,")
        _fill_model(model, checkpoint)
        return True

    def load_final_weights(self, model: nn.Module) -> bool:
        """Fill `model`, not sharded, with the weights of the newest checkpoint, where a finished training ended; False when there is none.

        Raises ConfigError when it is damaged: the one before it is of a training half done.
        """
        checkpoint = next(iter(on_first_rank(self._newest_first)), None)
        if checkpoint is None:
            return False
        self._require_whole(checkpoint)
        _fill_model(model, checkpoint)
        return True

    def _require_whole(self, checkpoint: Path, what: str = "") -> None:
        """Where none but this one will do."""
        if faults := _faults(checkpoint):
            raise ConfigError(f"{checkpoint}{what} is damaged ({faults[0]}); remove {self.folder.parent} and train again")

    def _newest_whole(self) -> Path | None:
        for checkpoint in on_first_rank(self._newest_first):
            faults = _faults(checkpoint)
            if not faults:
                return checkpoint
            if dist.get_rank() == 0:
                _log.warning("%s is damaged (%s): it is set aside and the one before it is used", checkpoint, faults[0])
                checkpoint.rename(_free_name(checkpoint.with_name(f"damaged-{checkpoint.name}")))
        return None

    def due(self, step: int) -> bool:
        return bool(self.retention.every_steps) and step % self.retention.every_steps == 0

    def save(self, job: Saveable, step: int, figures: dict[str, float] | None = None) -> None:
        """Write the checkpoint of `step`, then remove those that need not be kept. `figures` are what `best` may choose by."""
        target, side = self.folder / f"step={step:08d}", self.folder / f"writing-{step:08d}"
        if on_first_rank(target.exists):
            return
        if dist.get_rank() == 0:
            shutil.rmtree(side, ignore_errors=True)
            side.mkdir(parents=True)
        dist.barrier()
        _write_tensors(job.tensors(), side)
        if dist.get_rank() == 0:
            finite = {name: value for name, value in (figures or {}).items() if math.isfinite(value)}
            write_json(side / _STATE, {"format_version": FORMAT_VERSION, "step": step, "figures": finite, "values": job.values()})
        dist.barrier()
        checksums = _checksums(side)
        if dist.get_rank() == 0:
            write_json(side / _CHECKSUMS, checksums)
            side.rename(target)
            self._prune(target)
        dist.barrier()

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step=*"), reverse=True)

    def _prune(self, newest: Path) -> None:
        kept = set(self._newest_first()[: self.retention.last]) | {newest}
        if best := self.best():
            kept.add(best)
        for other in self.folder.iterdir():
            if other not in kept:
                shutil.rmtree(other, ignore_errors=True)

    def best(self) -> Path | None:
        """The checkpoint with the best value of the figure that `Retention.best` names; the earlier one of equals."""
        figures = {path: _figure(path, self.retention.best) for path in reversed(self._newest_first())}
        sign = -1.0 if self.retention.best.endswith("auc") else 1.0
        known = {path: sign * value for path, value in figures.items() if value is not None}
        return min(known, key=lambda path: known[path], default=None)


class NoCheckpoints(Checkpointer):
    """For trainings too short to be worth resuming: nothing is saved, nothing is found."""

    def __init__(self) -> None:
        super().__init__(Path(), Retention(0))

    def load(self, job: Saveable) -> bool:
        return False

    def save(self, job: Saveable, step: int, figures: dict[str, float] | None = None) -> None: ...


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The plain values of a checkpoint. Raises OSError, ValueError or KeyError when there are none."""
    raw: dict[str, Any] = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    if raw["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format_version {raw['format_version']}, this program reads {FORMAT_VERSION}")
    return raw


def _figure(checkpoint: Path, name: str) -> float | None:
    if not name:
        return None
    try:
        value = read_state(checkpoint)["figures"].get(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None if value is None else float(value)


def _write_tensors(tensors: dict[str, Any], side: Path) -> None:
    """Raises OSError, on every rank, when one of them cannot write; nothing is left behind then."""
    try:
        dcp.save(tensors, storage_writer=TensorWriter(side / _TENSORS))
    except CheckpointException as error:  # a BaseException, raised on every rank
        reason = _first_failure(error)
        if dist.get_rank() == 0:
            shutil.rmtree(side, ignore_errors=True)
        raise OSError(f"{side}: the checkpoint cannot be written, is the disk full? ({reason})") from error


def _fill_model(model: nn.Module, checkpoint: Path) -> None:
    _fill({f"model.{name}": value for name, value in model.state_dict().items()}, checkpoint, prefix="model.")


def _fill(tensors: Mapping[str, Any], checkpoint: Path, prefix: str = "") -> dict[str, Any]:
    """Fill `tensors` in place, all those of the checkpoint whose names begin with `prefix`, and return them by their names there."""
    reader = TensorReader(checkpoint / _TENSORS)
    saved = {name: size for name, size in reader.sizes().items() if name.startswith(prefix)}
    named = {_name_there(name, saved): tensor for name, tensor in tensors.items()}
    # A GPU has a random state that a checkpoint from CPUs knows nothing of; it stays as it was seeded.
    wanted = {name: tensor for name, tensor in named.items() if name in saved or not name.startswith(RANDOM_STATE)}
    _check_sizes(saved, {name: _size(tensor) for name, tensor in wanted.items()}, str(checkpoint))
    try:
        dcp.load(wanted, storage_reader=reader)
    except CheckpointException as error:  # a BaseException, raised on every rank
        reason = _first_failure(error)
        raise ConfigError(f"{checkpoint} was not written by this program ({reason}): nothing in it was run; remove it") from error
    return wanted


def _first_failure(error: CheckpointException) -> str:
    """What went wrong on the first rank that failed, in one line."""
    cause = next(iter(error.failures.values()))[0]
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)


def _name_there(name: str, saved: Mapping[str, tuple[int, ...]]) -> str:
    """A rank beyond those that saved takes over the random state of rank 0: all ranks are seeded alike."""
    return f"{name.rpartition('.')[0]}.0" if name.startswith(RANDOM_STATE) and name not in saved else name


def _check_sizes(saved: Mapping[str, tuple[int, ...]], mine: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise ConfigError, on every rank, unless the tensors of the checkpoint are those of the job."""
    wanted = _merged(dict(mine))
    todo = "it is of another model or another set of tables; give the run another name, or remove the checkpoint"
    for name in sorted(set(wanted) | set(saved)):
        if name.startswith(RANDOM_STATE) or saved.get(name) == wanted.get(name):
            continue
        there, here = (f"{list(sizes[name])}" if name in sizes else "nothing" for sizes in (saved, wanted))
        raise ConfigError(f"{where} holds {there} for {name} where this job has {here}: {todo}")


def _size(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.metadata().size if isinstance(tensor, ShardedTensor) else tensor.shape)


def _checksums(folder: Path) -> dict[str, str]:
    """A digest of every file below `folder`, each read by one of the ranks."""
    files = on_first_rank(lambda: sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
    mine = {name: _digest(folder / name) for name in files[dist.get_rank() :: dist.get_world_size()]}
    return _merged(mine)


def _faults(checkpoint: Path) -> list[str]:
    """What is wrong with a checkpoint, the same list on every rank; empty when it is whole."""
    expected, fault = on_first_rank(lambda: _expected(checkpoint))
    if fault:
        return [fault]
    mine = {}
    for name in sorted(expected)[dist.get_rank() :: dist.get_world_size()]:
        try:
            if _digest(checkpoint / name) != expected[name]:
                mine[name] = f"{name} is not what was written"
        except OSError as error:
            mine[name] = f"{name}: {error.strerror}"
    return list(_merged(mine).values())


def _expected(checkpoint: Path) -> tuple[dict[str, str], str]:
    """The digests a checkpoint should have, or why it has none."""
    try:
        expected = json.loads((checkpoint / _CHECKSUMS).read_text(encoding="utf-8"))
        read_state(checkpoint)
        missing = {_STATE, f"{_TENSORS}/{CONTENTS}"} - set(expected)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {}, f"{type(error).__name__}: {error}"
    return expected, f"{min(missing)} is not among its checksums" if missing else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _merged(mine: dict[str, T]) -> dict[str, T]:
    """The entries of all ranks, by name, on every rank."""
    parts: list[dict[str, T]] = [mine]
    if dist.get_world_size() > 1:
        parts = [{}] * dist.get_world_size()
        dist.all_gather_object(parts, mine)
    return {name: part[name] for part in parts for name in sorted(part)}


def _free_name(path: Path) -> Path:
    number = 0
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name}.{number}")
    return path
