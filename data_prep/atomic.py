"""Whole files and folders or none: all that the pipeline leaves behind is written here, so that a killed job never leaves half."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["TEMPORARY", "whole_folder", "write_bytes", "write_json", "write_text"]

TEMPORARY = ".tmp-"
"""In the name of every folder that is not whole yet, after the name it will have."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path``, flush it to disk and rename it into place.

    The parent folder is made when missing. A reader sees the old file or the new one, never a part; when writing
    fails, the old file stays and no temporary file is left. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, in UTF-8 and with the line ends of ``text`` as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`, as JSON indented by two spaces and ended by a newline, keys in the order given.

    Raises ValueError for NaN and infinity, which are not JSON, and TypeError for a value JSON cannot hold; the old
    file is then untouched.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(path: Path, made_in: Path) -> Iterator[Path]:
    """A new folder to fill, in `made_in` on the same disk: renamed to ``path`` when the block ends, removed when it fails.

    Whoever fills it flushes its files. A process that is killed leaves `<name>.tmp-*` behind in `made_in`. Raises OSError, one
    without a file name getting that of ``path``.
    """
    made_in.mkdir(parents=True, exist_ok=True)
    temporary = made_in / f"{path.name}{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        temporary.mkdir()
        yield temporary
        _flush_folder(temporary)
        temporary.rename(path)
        _flush_folder(path.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
