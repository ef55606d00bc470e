"""What the `torchx` command and the controller change about their own process, so that a user sees what he expects."""

from __future__ import annotations

import os
import sys
from types import TracebackType

STOPPED = "stopped; the same command continues from here"


def put_own_commands_first() -> None:
    """Let `python` and `torchrun` be those of this environment, even if nobody activated it: children inherit the PATH."""
    own = os.path.dirname(sys.executable)
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([own, *os.get_exec_path()]))


def stop_without_traceback() -> None:
    """On Ctrl-C, TorchX ends the controller cleanly and then lets its own exception fly; say what happened instead."""
    shown_otherwise = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if kind.__name__ == "SignalException":
            print(STOPPED, file=sys.stderr)
        else:
            shown_otherwise(kind, error, trace)

    sys.excepthook = show
