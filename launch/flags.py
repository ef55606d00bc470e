"""`--dryrun` and `--resume` without a value: TorchX 0.7 wants one for every option of a component, as in `--dryrun True`."""

from __future__ import annotations

import functools
import inspect
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torchx.specs import builders

VALUES = ("true", "false")


def allow_bare_flags() -> None:
    """Let every component's options of type bool stand alone, anywhere in the line. Does nothing the second time."""
    parse = builders.parse_args
    if not hasattr(parse, "bare_flags"):
        builders.parse_args = _with_bare_flags(parse)


def _with_bare_flags(parse: Callable[..., Namespace]) -> Callable[..., Namespace]:
    @functools.wraps(parse)
    def parse_args(cmpnt_fn: Callable[..., Any], cmpnt_args: Sequence[str], *rest: Any, **named: Any) -> Namespace:
        flags = {f"--{name}" for name, parameter in inspect.signature(cmpnt_fn).parameters.items() if parameter.annotation is bool}
        return parse(cmpnt_fn, with_values(cmpnt_args, flags), *rest, **named)

    vars(parse_args)["bare_flags"] = True
    return parse_args


def with_values(words: Sequence[str], flags: Collection[str]) -> list[str]:
    """The words with `True` after each bare flag, and flags first, for TorchX takes all after the first plain word for overrides."""
    first, others = [], []
    left = list(words)
    while left:
        word = left.pop(0)
        if word not in flags:
            others.append(word)
            continue
        first += [word, left.pop(0) if left and left[0].lower() in VALUES else "True"]
    return first + others
