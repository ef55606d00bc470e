"""Decisions that one rank takes for all: rank 0 acts, and every rank goes on with its answer, or fails with its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


def on_first_rank(decide: Callable[[], T]) -> T:
    """What `decide` returns on rank 0, on every rank; a ValueError that it raises there is raised everywhere.

    Without this the other ranks would wait for a rank that has given up.
    """
    told: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            told[0] = decide()
        except ValueError as error:
            told[1] = error
    if dist.get_world_size() > 1:
        dist.broadcast_object_list(told, src=0)
    if told[1] is not None:
        raise told[1]
    answer: T = told[0]
    return answer
