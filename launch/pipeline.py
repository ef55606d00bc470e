"""TorchX component: `torchx run launch/pipeline.py --config configs/demo.toml --input 'raw/day_*'`, or `launch/pipeline.py:pipeline`.

The first name comes from the entry point `launch/pipeline` of setup.py and the function `py` below, the second is TorchX's own way to
name a function in a file. TorchX reads this file without importing its package: hence no relative import.
"""

import functools
from typing import Any

from torchx import specs

from launch import component


@component.options_of(component.run_words, component.raw_words)
def pipeline(*overrides: str, **options: Any) -> specs.AppDef:
    """Turns raw logs into shards, searches, retrains, compares and reports: `launch/prep.py`, then `launch/search.py`.

    Running the same command again continues where the last one stopped. Options of `data-prep run` are given as prep.name=value.
    """
    return component.controller("pipeline", "launch.pipeline_controller", component.pipeline_words(*overrides, **options))


@functools.wraps(pipeline)
def py(*overrides: str, **options: Any) -> specs.AppDef:
    # TorchX looks for a function *defined* under this name; everything else it reads from `pipeline`.
    return pipeline(*overrides, **options)
