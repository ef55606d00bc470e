"""Requests to stop, as signals bring them."""

from __future__ import annotations

import os
import signal
import time

import pytest

from launch import stop as stop_module
from launch.stop import Stop, Stopped


def test_one_request_told_several_times_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    stop.listen()
    stop.check()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped):
        stop.check()
    later = time.monotonic() + stop_module.SAME_REQUEST_SECONDS + 0.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
