"""Ctrl-C and SIGTERM as a question that the controller asks at safe moments, so that no child is forgotten half-started."""

from __future__ import annotations

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODE = 130
SAME_REQUEST_SECONDS = 0.5


class Stopped(Exception):
    """Somebody asked this run to stop."""


class Stop:
    """Remembers the first request; a second one is obeyed at once, unless it comes with the first.

    (When a parent with several threads dies, Linux may tell its children once for each.)
    """

    def __init__(self) -> None:
        self.requested = False
        self._first = 0.0

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
        if self.requested and time.monotonic() > self._first + SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._first = True, time.monotonic()
