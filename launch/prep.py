"""TorchX component: `torchx run launch/prep.py --input 'raw/day_*' --out shards/`, or with the name `launch/prep.py:prep`.

As in `launch/search.py`, TorchX reads this file without importing its package: hence no relative import.
"""

import functools
from typing import Any

from torchx import specs

from launch import component


@component.options_of(component.prep_words, component.raw_words)
def prep(*settings: str, **options: Any) -> specs.AppDef:
    """Turns raw logs into shards, one job a day, then writes the manifest over all days; `data-prep run` on many machines.

    Running the same command again continues where the last one stopped.
    """
    return component.controller("prep", "launch.prep_controller", component.prep_words(*settings, **options))


@functools.wraps(prep)
def py(*settings: str, **options: Any) -> specs.AppDef:
    # TorchX looks for a function *defined* under this name; everything else it reads from `prep`.
    return prep(*settings, **options)
