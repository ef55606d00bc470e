"""What limits a process's memory, read from folders laid out as Linux lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from embeddings.host_memory import _limits

GROUPS = {
    "0::/slurm/job_7/task_0\n": {"slurm/memory.max": "max", "slurm/job_7/memory.max": "4096", "slurm/job_7/task_0/memory.max": "8192"},
    "0::/\n": {"memory.max": "4096"},
    "5:cpu:/here\n4:memory:/docker/abc\n": {
        "memory/memory.limit_in_bytes": str(2**63 - 4096),
        "memory/docker/memory.limit_in_bytes": "4096",
    },
}


@pytest.mark.parametrize("membership", GROUPS)
def test_memory_is_what_a_batch_job_or_container_may_use(tmp_path: Path, membership: str) -> None:
    (tmp_path / "cgroup").write_text(membership)
    for name, limit in GROUPS[membership].items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{limit}\n")
    (tmp_path / "memory.max").write_text("1\n")  # above what there is to see
    assert min(_limits(tmp_path / "cgroup", tmp_path / "fs")) == 4096
    assert not list(_limits(tmp_path / "missing", tmp_path / "fs"))
