"""TorchX component: `torchx run launch/retrain.py --config configs/demo.toml`, or with the name `launch/retrain.py:retrain`.

The first name comes from the entry point `launch/retrain` of setup.py and the function `py` below, the second is TorchX's own way to
name a function in a file. TorchX reads this file without importing its package: hence no relative import.
"""

import functools
from typing import Any

from torchx import specs

from launch import component


@component.options_of(component.run_words)
def retrain(*overrides: str, **options: Any) -> specs.AppDef:
    """Retrains the architecture that a search found, and the models it is compared with; `launch/search.py` does so too."""
    return component.controller("retrain", "launch.controller", ["--stages", "retrain", *component.run_words(*overrides, **options)])


@functools.wraps(retrain)
def py(*overrides: str, **options: Any) -> specs.AppDef:
    # TorchX looks for a function *defined* under this name; everything else it reads from `retrain`.
    return retrain(*overrides, **options)
