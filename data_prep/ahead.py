"""Work done ahead of whoever consumes it, in a thread: the next batch is read while the model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def load_ahead(load: Callable[[Key], Value], keys: Iterable[Key], depth: int) -> Iterator[Value]:
    """`load(key)` for each of `keys`, in order, with up to `depth` values loaded ahead in a thread; 0 loads in the caller's.

    The keys are drawn in the caller's thread. What `load` raises is raised here, when its turn comes. The thread ends with the
    iterator: at its end, when it is closed or dropped, and at an error.
    """
    if not depth:
        yield from map(load, keys)
        return
    waiting: deque[Future[Value]] = deque()
    pool = ThreadPoolExecutor(1, "load_ahead")
    try:
        for key in keys:
            waiting.append(pool.submit(load, key))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
