"""For all tests: generated ones are never judged by the clock and are the same every time in continuous integration; one thread a
process; and a process group of one, of which a process can have only one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from recsys_nas.jobs.environment import Ranks

# Before torch is loaded, and for what tests start: networks of a few rows are several times slower on two threads that others share.
os.environ["OMP_NUM_THREADS"] = "1"
# A shell's background jobs ignore Ctrl-C, and so would what tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """This process alone in its group."""
    from recsys_nas.jobs.environment import process_group

    with process_group() as alone:
        yield alone
