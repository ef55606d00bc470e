"""How much memory a process may use: what the host has, unless a container or a batch job is allowed less. Linux tells by cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def host_memory() -> int:
    """Bytes, by cgroups of either version."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _limits(membership: Path, root: Path) -> Iterator[int]:
    """Of the groups that this process is in and of those above them, as far as they can be seen from here; "max" is none."""
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.exists() else []
    for controllers, _, group in (line.partition(":")[2].partition(":") for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        top, file = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        path = top / group.strip("/")
        for folder in (path, *path.parents):
            if folder.is_relative_to(top) and (folder / file).exists():
                limit = (folder / file).read_text(encoding="ascii").strip()
                yield from [int(limit)] if limit.isdigit() else []
