"""A full disk told before the work rather than after hours of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from data_prep.errors import DataError


def require_free(folder: Path, needed: float) -> None:
    """Raise DataError when the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        sizes = f"needs about {needed / 1e9:,.1f} GB and its disk has {free / 1e9:,.1f} GB free"
        raise DataError(f"{folder} {sizes}: make room, choose another --out, or ask for fewer rows")
