"""Runs a command that ends when its parent does: `python -m launch.child [--ask] COMMAND [ARGUMENT ...]`.

TorchX and torchrun give every child a session of its own, so a controller or a torchrun that is killed outright (kill -9,
out of memory) would leave its children running for ever. Linux can send a process a signal when its parent dies, and the
wish outlives exec: this module makes the wish and becomes the command. Elsewhere the command simply runs.

The signal is SIGKILL, which jobs are made for: the kernel may send it once for each thread of a dying parent, and torchrun,
asked to stop a second time while it stops, hangs for ever. With `--ask` it is SIGTERM, for what has to tidy up.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PARENT = "LAUNCH_CHILD_PARENT"
"""The variable with the process id of whoever starts the command; without it, or empty, a parent that is gone already stays unnoticed."""


def end_with_parent(number: signal.Signals) -> None:
    """Ask the kernel for this signal when the parent of this process dies; SystemExit when it is dead already."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    parent = os.environ.get(PARENT)
    if parent and parent != str(os.getppid()):
        sys.exit(1)
    os.environ[PARENT] = str(os.getpid())  # of what the command starts


def main(words: list[str]) -> int:
    """Become the command; returns only when that fails."""
    asking = words[:1] == ["--ask"]
    command = words[1:] if asking else words
    if not command:
        print("error: name a command to run: python -m launch.child [--ask] COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    end_with_parent(signal.SIGTERM if asking else signal.SIGKILL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
