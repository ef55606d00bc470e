"""Starting a program of the tests on several ranks, on one host or as if on several; quicker than torchrun, which loads torch once more."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 240


def run_on_ranks(module: str, world_size: int, *arguments: str, ranks_per_host: int | None = None) -> None:
    """Run `python -m module arguments...` on every rank; AssertionError with the first failed rank's stderr when one fails."""
    local = ranks_per_host or world_size
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(world_size), "LOCAL_WORLD_SIZE": str(local)}
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(world_size):
            mine = {"RANK": str(rank), "LOCAL_RANK": str(rank % local)}
            with (Path(folder) / f"{rank}").open("w") as log:
                command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
                processes.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | shared | mine, stderr=log))
        try:
            codes = [process.wait(TIMEOUT_S) for process in processes]
        finally:
            for process in processes:
                process.kill()
        logs = [(Path(folder) / f"{rank}").read_text() for rank in range(world_size)]
    failed = [f"rank {rank}:\n{logs[rank]}" for rank, code in enumerate(codes) if code]
    assert not failed, "\n".join(failed)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
