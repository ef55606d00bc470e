"""For all tests: generated ones are never judged by the clock and are the same every time in continuous integration; and a
process group of one, of which a process can have only one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from recsys_nas.jobs.environment import Ranks

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """This process alone in its group, on one thread."""
    import torch

    from recsys_nas.jobs.environment import process_group

    torch.set_num_threads(1)
    with process_group() as alone:
        yield alone
