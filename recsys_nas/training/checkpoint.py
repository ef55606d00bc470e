"""Saving a training job so that a kill at any moment costs little, and its resumption gives the same result.

Tensors go through torch.distributed.checkpoint (DCP), which knows sharded tables; everything else is JSON beside them.
A checkpoint is written to a side folder and renamed: a half-written one is never found.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from data_prep.atomic import write_json


class Saveable(Protocol):
    """What a checkpoint holds: tensors by name, which loading fills in place, and plain values."""

    def tensors(self) -> dict[str, Any]: ...

    def values(self) -> dict[str, Any]: ...

    def load_values(self, values: dict[str, Any]) -> None: ...


class Checkpointer:
    """Keeps the newest checkpoint of one job in `<folder>/step=NNNNNNNN/`; `every_steps` 0 saves only at the end."""

    def __init__(self, folder: Path, every_steps: int) -> None:
        self.folder = folder
        self.every_steps = every_steps

    def load(self, job: Saveable) -> bool:
        """Restore the newest checkpoint; False, and nothing done, on a fresh start."""
        newest = max(self.folder.glob("step=*"), default=None)
        if newest is None:
            return False
        dcp.load(job.tensors(), checkpoint_id=newest / "tensors")
        job.load_values(json.loads((newest / "values.json").read_text(encoding="utf-8")))
        return True

    def maybe_save(self, job: Saveable, step: int) -> None:
        if self.every_steps and step % self.every_steps == 0:
            self.save(job, step)

    def save(self, job: Saveable, step: int) -> None:
        """Write the checkpoint of `step` and then remove older ones. Every rank calls it."""
        target = self.folder / f"step={step:08d}"
        side = self.folder / f"writing-{step:08d}"
        if target.exists():
            return
        if dist.get_rank() == 0:
            shutil.rmtree(side, ignore_errors=True)
            side.mkdir(parents=True)
        dist.barrier()
        dcp.save(job.tensors(), checkpoint_id=side / "tensors")
        if dist.get_rank() == 0:
            write_json(side / "values.json", job.values())
            side.rename(target)
            for other in self.folder.iterdir():
                if other != target:
                    shutil.rmtree(other, ignore_errors=True)
        dist.barrier()
