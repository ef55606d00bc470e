"""TorchX component: `torchx run launch/compare.py --config configs/demo.toml`, or with the name `launch/compare.py:compare`.

The first name comes from the entry point `launch/compare` of setup.py and the function `py` below, the second is TorchX's own way to
name a function in a file. TorchX reads this file without importing its package: hence no relative import.
"""

import functools
from typing import Any

from torchx import specs

from launch import component


@component.options_of(component.run_words)
def compare(*overrides: str, **options: Any) -> specs.AppDef:
    """Compares the retrained models on the test day and writes the report; `launch/search.py` does so too."""
    return component.controller("compare", "launch.controller", ["--stages", "compare", *component.run_words(*overrides, **options)])


@functools.wraps(compare)
def py(*overrides: str, **options: Any) -> specs.AppDef:
    # TorchX looks for a function *defined* under this name; everything else it reads from `compare`.
    return compare(*overrides, **options)
