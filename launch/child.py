"""Runs a command that ends when its parent does: `python -m launch.child COMMAND [ARGUMENT ...]`.

TorchX and torchrun give every child a session of its own, so a controller or a torchrun that is killed outright (kill -9,
out of memory) would leave its children running for ever. Linux can send a process a signal when its parent dies, and the
wish outlives exec: this module makes the wish and becomes the command. Elsewhere the command simply runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent of this process dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def main(command: list[str]) -> int:
    """Become `command`; returns only when that fails."""
    if not command:
        print("error: name a command to run: python -m launch.child COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    end_with_parent()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
