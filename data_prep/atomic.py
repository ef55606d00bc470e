"""Whole files or none: every file the pipeline leaves behind is written here, so that a killed job never leaves half of one."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

__all__ = ["write_bytes", "write_json", "write_text"]


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
