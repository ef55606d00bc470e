"""TorchX component: `torchx run launch/search.py --config configs/demo.toml`, or with the name `launch/search.py:search`.

The first name comes from the entry point `launch/search` of setup.py and the function `py` below, the second is TorchX's
own way to name a function in a file. TorchX reads this file without importing its package, and its linter knows only the
old-style annotations: hence the imports and types here.
"""

import functools
import shutil
from typing import Any, Optional

import torchx
from torchx import specs

from launch import process

ROLE = "search"


def search(
    *overrides: str,
    config: str,
    days: Optional[str] = None,
    max_parallel: Optional[int] = None,
    nproc_per_node: Optional[int] = None,
    gpus: Optional[int] = None,
) -> specs.AppDef:
    """Searches an architecture day by day, retrains it and the models it is compared with, and reports.

    Running the same command again continues where the last one stopped.

    Args:
        overrides: config values as section.key=value, after all options, e.g. search.batch_size=1024 retrain.seeds=[0]
        config: the experiment, a TOML file such as configs/demo.toml
        days: days to search on, e.g. 0-4 or 0,2,5 (data.search_days)
        max_parallel: jobs at once; 0 means as many as the machine has cores or GPUs for (launch.max_parallel)
        nproc_per_node: processes of one job (launch.nproc_per_node)
        gpus: GPUs of one job; 0 means CPU (launch.gpus)
    """
    options = {"max_parallel": max_parallel, "nproc_per_node": nproc_per_node, "gpus": gpus}
    settings = [f"launch.{name}={value}" for name, value in options.items() if value is not None]
    if days is not None:
        settings.append(f'data.search_days="{days}"')
    process.put_own_commands_first()
    process.stop_without_traceback()
    columns = shutil.get_terminal_size(fallback=(120, 24)).columns - len(f"{ROLE}/0 ")
    role = specs.Role(
        name=ROLE,
        image=torchx.IMAGE,
        entrypoint="python",
        args=["-m", "launch.child", "python", "-m", "launch.controller", "--config", config, *settings, *overrides],
        env={"PYTHONUNBUFFERED": "1", "COLUMNS": str(columns)},
    )
    return specs.AppDef(name=ROLE, roles=[role])


@functools.wraps(search)
def py(*overrides: str, **options: Any) -> specs.AppDef:
    # TorchX looks for a function *defined* under this name; everything else it reads from `search`.
    return search(*overrides, **options)
