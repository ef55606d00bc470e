"""Ctrl-C and SIGTERM as a question that the controller asks at safe moments, so that no child is forgotten half-started."""

from __future__ import annotations

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODE = 130


class Stopped(Exception):
    """Somebody asked this run to stop."""


class Stop:
    """Remembers the first request; a second one is obeyed at once."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take over the signals. Call it after TorchX made its local scheduler, which takes them for itself."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._request)

    def check(self) -> None:
        """Raises Stopped when a stop was requested."""
        if self.requested:
            raise Stopped

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
