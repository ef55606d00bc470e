"""Work shared by threads whose outcome must come in order: each takes the next piece, works on it, and hands it on when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def in_turn(keys: Iterable[Key], load: Callable[[Key], Value], use: Callable[[Value], object], threads: int) -> None:
    """`use(load(key))` for each of `keys`. Several `load` run at once; keys are drawn one at a time, and values used one at a time and in
    the order of their keys, all in the threads. One thread is the caller's own.

    What is raised by any of the three is raised here, once all keys before it have been used; none is used after it.
    """
    if threads == 1:
        for key in keys:
            use(load(key))
        return
    work = _Work(keys, load, use)
    with ThreadPoolExecutor(threads, "in_turn") as pool:
        try:
            wait([pool.submit(work.run) for _ in range(threads)])
        finally:
            work.ended = True
    if work.error is not None:
        raise work.error


class _Work(Generic[Key, Value]):
    """What the threads of `in_turn` share. A piece has its turn when the lock of the one before it is free."""

    def __init__(self, keys: Iterable[Key], load: Callable[[Key], Value], use: Callable[[Value], object]) -> None:
        self._keys, self._load, self._use = iter(keys), load, use
        self._drawing, self._last = Lock(), Lock()
        self.ended = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """In each thread."""
        while not self.ended:
            self._next_piece()

    def _next_piece(self) -> None:
        mine = Lock()
        mine.acquire()
        before: Lock | None = None
        try:
            try:
                with self._drawing:
                    before, self._last = self._last, mine
                    pieces = list(islice(self._keys, 1))
                values = [self._load(key) for key in pieces]
            finally:
                if before is not None:
                    before.acquire()
            if not pieces:
                self.ended = True
            for value in values:
                if not self.ended:
                    self._use(value)
        except BaseException as error:  # raised by the caller's thread
            if not self.ended:
                self.error, self.ended = error, True
        finally:
            mine.release()
