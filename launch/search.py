"""TorchX component: `torchx run launch/search.py --config configs/demo.toml`, or with the name `launch/search.py:search`.

The first name comes from the entry point `launch/search` of setup.py and the function `py` below, the second is TorchX's own way to
name a function in a file. TorchX reads this file without importing its package: hence no relative import.
"""

import functools
from typing import Any

from torchx import specs

from launch import component


@component.options_of(component.run_words)
def search(*overrides: str, **options: Any) -> specs.AppDef:
    """Searches an architecture day by day, retrains it and the models it is compared with, and reports.

    Running the same command again continues where the last one stopped.
    """
    return component.controller("search", "launch.controller", component.run_words(*overrides, **options))


@functools.wraps(search)
def py(*overrides: str, **options: Any) -> specs.AppDef:
    # TorchX looks for a function *defined* under this name; everything else it reads from `search`.
    return search(*overrides, **options)
