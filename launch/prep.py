"""TorchX component: `torchx run launch/prep.py --input 'raw/day_*' --out shards/`, or with the name `launch/prep.py:prep`.

As in `launch/search.py`, TorchX reads this file without importing its package: hence the imports and types here.
"""

import functools
import shutil
from typing import Any, List, Optional

import torchx
from torchx import specs

from launch import process

ROLE = "prep"


def prep(
    *settings: str,
    input: List[str],
    out: str,
    schema: str = "criteo",
    hash: Optional[str] = None,
    threshold: Optional[int] = None,
    max_parallel: Optional[int] = None,
) -> specs.AppDef:
    """Turns raw logs into shards, one job a day, then writes the manifest over all days; `data-prep run` on many machines.

    Running the same command again continues where the last one stopped.

    Args:
        settings: after all options, any other of `data-prep run` as name=value, e.g. buckets=1000000 dense-transform=mlperf,
            and how jobs are launched, e.g. launch.scheduler=slurm launch.memory_mb=8192 launch.cpus=1
        input: logs, as paths, URIs or quoted patterns, separated by commas
        out: folder for the shards, on a disk that all jobs share
        schema: criteo, or the TOML of a table of your own
        hash: modulo, or frequency for a vocabulary over all days
        threshold: with frequency, ids seen less often share one
        max_parallel: jobs at once; 0 means as many as the machine has cores for (launch.max_parallel)
    """
    options = ["--input", *input, "--out", out, "--schema", schema]
    options += ["--hash", hash] if hash is not None else []
    options += ["--threshold", str(threshold)] if threshold is not None else []
    options += ["--launch", f"launch.max_parallel={max_parallel}"] if max_parallel is not None else []
    for setting in settings:
        name, _, value = setting.partition("=")
        options += ["--launch", setting] if name.startswith("launch.") else [f"--{name}", value]
    process.put_own_commands_first()
    process.stop_without_traceback()
    columns = shutil.get_terminal_size(fallback=(120, 24)).columns - len(f"{ROLE}/0 ")
    role = specs.Role(
        name=ROLE,
        image=torchx.IMAGE,
        entrypoint="python",
        args=["-m", "launch.child", "python", "-m", "launch.prep_controller", *options],
        env={"PYTHONUNBUFFERED": "1", "COLUMNS": str(columns)},
    )
    return specs.AppDef(name=ROLE, roles=[role])


@functools.wraps(prep)
def py(*settings: str, **options: Any) -> specs.AppDef:
    # TorchX looks for a function *defined* under this name; everything else it reads from `prep`.
    return prep(*settings, **options)
