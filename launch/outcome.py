"""How a controller ends: its exit codes, and one line instead of a traceback for what a user can mend."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from data_prep import command_line
from data_prep.errors import DataError
from launch.child import PARENT
from launch.errors import LaunchError
from launch.process import STOPPED, put_own_commands_first
from launch.stop import EXIT_CODE, Stopped
from recsys_nas.config import ConfigError

JOB_FAILED = 1
USER_ERROR = 2


def in_one_line(work: Callable[[], int]) -> int:
    """Do the work of a controller; returns its exit code: 0 done, 1 a job failed, 2 something to mend first, 130 stopped."""
    logging.getLogger("torchx").setLevel(logging.ERROR)
    put_own_commands_first()
    os.environ.pop(PARENT, None)  # a cluster would hand it on to jobs, whose parent is another
    try:
        return work()
    except (ConfigError, DataError, LaunchError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"error: {command_line.in_one_line(error)}", file=sys.stderr)
        return USER_ERROR
    except (Stopped, KeyboardInterrupt):
        print(STOPPED, flush=True)
        return EXIT_CODE
