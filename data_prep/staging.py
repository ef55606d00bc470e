"""Shards brought to a disk of this machine, only those of the days that a job reads.

A staging folder is a cache that jobs share, one folder a set of shards:

    <staging>/<digest of the manifest>/day=00/part-00000/dense.npy ...
    <staging>/<digest of the manifest>/day=00.lock

Whoever reads a day holds its lock, shared, for as long as its process lives. Files are fetched under a temporary name, checked
against the manifest and renamed; those that are there already are checked and used again. When the disk is short, the days that
nobody reads make room, the ones unused for longest first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from data_prep.errors import DataError
from data_prep.paths import is_remote, local_copy, local_path
from data_prep.schema import Schema
from data_prep.shards import DTYPES, DayEntry, Manifest, PartEntry, day_folder, sha256_of

LOCK = ".lock"
INCOMING = ".incoming-"
HEADER_BYTES = 128
"""Of a .npy file, before its numbers."""


@contextmanager
def staged(shards: str, manifest: Manifest, days: Sequence[int], staging: str, check: bool = True) -> Iterator[Path]:
    """A local root from which `days` can be read while the block lasts: `shards` itself where `staging` is empty.

    `check` false spares the checksums of files that are there: for the other ranks of a node, on which one has checked. Raises
    DataError when the disk has no room or a file is not what the manifest says, and OSError when the store fails, which may be
    tried again.
    """
    check_staging(shards, manifest, staging)
    if not staging:
        yield local_path(shards)
        return
    root = Path(staging) / digest(manifest)
    with ExitStack() as held:
        for day in days:
            held.enter_context(_lock(root / f"{day_folder(day)}{LOCK}", fcntl.LOCK_SH))
            with _lock(root / f".{day_folder(day)}.fetching", fcntl.LOCK_EX):
                _bring(shards, manifest.schema, manifest.day(day), root, check)
        yield root


def check_staging(shards: str, manifest: Manifest, staging: str) -> None:
    """Raises DataError when shards of another machine have no folder to be staged to, or cannot be read without all their days."""
    if not is_remote(shards):
        return
    if not staging:
        raise DataError(f"{shards} is not on this machine: set data.staging to a local folder, to which each job copies its own days")
    if manifest.schema.jagged:
        name = manifest.schema.jagged[0].name
        raise DataError(f"{shards}: the mean length of the lists of {name} needs all days; copy the shards to a disk that all jobs share")


def digest(manifest: Manifest) -> str:
    """Names the folder of a set of shards, wherever they come from."""
    return hashlib.sha256(json.dumps(manifest.to_json(), sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, kind)
        os.utime(path)  # when it was used last
        yield


def _bring(shards: str, schema: Schema, day: DayEntry, root: Path, check: bool) -> None:
    """Fetch what of the day is not there, and what is not what the manifest says."""
    for left in root.glob(f"{day_folder(day.day)}/part-*/{INCOMING}*"):  # by a job that was killed
        left.unlink()
    for left in root.glob(f"{day_folder(day.day)}/.fetched-*"):
        shutil.rmtree(left)
    missing = []
    for part in day.parts:
        for name, sha256 in part.sha256.items():
            path = root / part.path / name
            if not path.exists() or (check and sha256_of(path) != sha256):
                missing.append((part, name))
    sizes = {(part.path, name): _size(shards, schema, part, name) for part, name in missing}
    _make_room(root, day.day, sum(sizes.values()))
    for part, name in missing:
        _fetch(shards, part, name, sizes[part.path, name], root)


def _fetch(shards: str, part: PartEntry, name: str, size: int, root: Path) -> None:
    source, target = f"{shards.rstrip('/')}/{part.path}/{name}", root / part.path / name
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = target.with_name(f"{INCOMING}{name}")
    try:
        with local_copy(source, size, target.parent.parent) as copy:
            (os.replace if is_remote(source) else shutil.copyfile)(copy, incoming)
    except DataError as error:  # a store that fails now may serve later
        raise OSError(str(error)) from error
    if sha256_of(incoming) != part.sha256[name]:
        incoming.unlink()
        raise DataError(f"{source} is not what the manifest says (sha256): make the shards again, or copy them again to where they lie")
    incoming.replace(target)


def _size(shards: str, schema: Schema, part: PartEntry, name: str) -> int:
    """Bytes of a file, from the manifest where that tells, so that a store need not be asked a thousand times."""
    columns = {"dense": len(schema.dense), "sparse": len(schema.sparse), "label": 1}
    if (stem := name.removesuffix(".npy")) in DTYPES:
        return HEADER_BYTES + part.rows * columns[stem] * 4
    return (local_path(shards) / part.path / name).stat().st_size


def _make_room(root: Path, day: int, needed: int) -> None:
    """Remove days that nobody reads until `needed` bytes are free. Raises DataError when that is not enough."""
    staging = root.parent
    locks = sorted(staging.glob(f"*/day=*{LOCK}"), key=lambda path: path.stat().st_mtime_ns)
    for path in locks:
        if shutil.disk_usage(staging).free >= needed:
            return
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(path.with_name(path.name.removesuffix(LOCK)), ignore_errors=True)
    free = shutil.disk_usage(staging).free
    if free < needed:
        raise DataError(
            f"data.staging = {staging}: day {day} needs {needed / 1e9:,.3g} GB more and the disk has {free / 1e9:,.3g} GB free; "
            f"make room, choose a larger disk, or run fewer jobs a node"
        )
