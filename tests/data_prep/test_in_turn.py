"""Threads that take turns: the order of the keys whatever takes long, one use at a time, and the first fault told after all before it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from random import Random

import pytest

from data_prep.in_turn import in_turn

KEYS = 60
THREADS = [1, 2, 3, 8]


def slept(key: int) -> int:
    time.sleep(Random(key).random() / 300)
    return key


@pytest.mark.parametrize("threads", THREADS)
def test_values_are_used_in_order_and_one_at_a_time(threads: int) -> None:
    used, busy = list[int](), threading.Lock()

    def use(value: int) -> None:
        assert busy.acquire(blocking=False), "two at once"
        slept(value + KEYS)
        used.append(value)
        busy.release()

    in_turn(range(KEYS), slept, use, threads)
    assert used == [*range(KEYS)]


@pytest.mark.parametrize("threads", [2, 3])
def test_several_are_loaded_at_once(threads: int) -> None:
    together = threading.Barrier(threads, timeout=10)  # broken, if they come one by one

    def load(_: int) -> int:
        return together.wait()

    in_turn(range(2 * threads), load, int, threads)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("where", ["draw", "load", "use"])
@pytest.mark.parametrize("last", [20, KEYS])
def test_a_fault_is_told_once_all_before_it_are_used(threads: int, where: str, last: int) -> None:
    used, before = list[int](), threading.active_count()

    def fail(at: str, key: int) -> None:
        if at == where and 20 <= key <= last:
            raise ValueError(f"{where} {key}")

    def keys() -> Iterator[int]:
        for key in range(KEYS):
            fail("draw", key)
            yield key

    def load(key: int) -> int:
        slept(KEYS - key)
        fail("load", key)
        return key

    def use(key: int) -> None:
        fail("use", key)
        used.append(key)

    with pytest.raises(ValueError, match=f"^{where} 20$"):
        in_turn(keys(), load, use, threads)
    assert used == [*range(20)]
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", THREADS)
def test_nothing_to_do(threads: int) -> None:
    in_turn((), slept, slept, threads)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("fails", ["load", "use"])
def test_the_end_of_another_iterator_is_an_error_like_any_other(threads: int, fails: str) -> None:
    """Not taken for the end of the keys, which would drop the rest in silence."""

    def empty(_: int) -> int:
        return next(iter(()))

    with pytest.raises((StopIteration, RuntimeError)):
        in_turn(range(5), empty if fails == "load" else int, empty if fails == "use" else int, threads)
