"""Texts to 64-bit keys, whole columns at a time, compiled. Importing this loads numba.

The hash is XXH64 with seed 0 (Yann Collet, https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md), which every language has a
library for: whoever serves a model must give a text the same key as its training data had.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

U64 = np.uint64
PRIME1, PRIME2, PRIME3 = U64(0x9E3779B185EBCA87), U64(0xC2B2AE3D27D4EB4F), U64(0x165667B19E3779F9)
PRIME4, PRIME5 = U64(0x85EBCA77C2B2AE63), U64(0x27D4EB2F165667C5)
MAX_HEX_DIGITS = 16


def _hex_values() -> NDArray[np.uint8]:
    values = np.full(256, 255, np.uint8)
    for value, digit in enumerate("0123456789abcdef"):
        values[ord(digit)] = values[ord(digit.upper())] = value
    return values


HEX_VALUES = _hex_values()


@njit(cache=True)
def hash_texts(data: NDArray[np.uint8], offsets: NDArray[np.int32]) -> NDArray[np.uint64]:
    """uint64 [R]: the XXH64 of data[offsets[r] : offsets[r + 1]]; data uint8 [bytes], offsets int32 [R + 1]."""
    keys = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(keys)):
        keys[row] = _xxh64(data, np.int64(offsets[row]), np.int64(offsets[row + 1]))
    return keys


@njit(cache=True)
def parse_hex(data: NDArray[np.uint8], offsets: NDArray[np.int32]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """uint64 [R] values of texts as in `hash_texts`, and bool [R] where a text is not 1 to 16 hexadecimal digits."""
    values, bad = np.zeros(len(offsets) - 1, np.uint64), np.zeros(len(offsets) - 1, np.bool_)
    for row in range(len(values)):
        bad[row] = not 0 < offsets[row + 1] - offsets[row] <= MAX_HEX_DIGITS
        for at in range(offsets[row], offsets[row + 1]):
            digit = HEX_VALUES[data[at]]
            bad[row] |= digit == 255
            values[row] = (values[row] << U64(4)) | U64(digit)
    return values, bad


@njit(cache=True, inline="always")
def _rotated(value, bits):  # type: ignore[no-untyped-def]
    return (value << U64(bits)) | (value >> U64(64 - bits))


@njit(cache=True, inline="always")
def _round(lane, word):  # type: ignore[no-untyped-def]
    return _rotated(lane + word * PRIME2, 31) * PRIME1


@njit(cache=True, inline="always")
def _merged(total, lane):  # type: ignore[no-untyped-def]
    return (total ^ _round(U64(0), lane)) * PRIME1 + PRIME4


@njit(cache=True, inline="always")
def _word(data, at, size):  # type: ignore[no-untyped-def]
    """`size` bytes as a little-endian number."""
    value = U64(0)
    for byte in range(size):
        value |= U64(data[at + byte]) << U64(8 * byte)
    return value


@njit(cache=True)
def _xxh64(data, at, end):  # type: ignore[no-untyped-def]
    size = U64(end - at)
    total = PRIME5
    if end - at >= 32:
        one, two, three, four = PRIME1 + PRIME2, PRIME2, U64(0), U64(0) - PRIME1
        while end - at >= 32:
            one, two = _round(one, _word(data, at, 8)), _round(two, _word(data, at + 8, 8))
            three, four = _round(three, _word(data, at + 16, 8)), _round(four, _word(data, at + 24, 8))
            at += 32
        total = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
        total = _merged(_merged(_merged(_merged(total, one), two), three), four)
    total += size
    while end - at >= 8:
        total = _rotated(total ^ _round(U64(0), _word(data, at, 8)), 27) * PRIME1 + PRIME4
        at += 8
    if end - at >= 4:
        total = _rotated(total ^ (_word(data, at, 4) * PRIME1), 23) * PRIME2 + PRIME3
        at += 4
    while at < end:
        total = _rotated(total ^ (U64(data[at]) * PRIME5), 11) * PRIME1
        at += 1
    total = (total ^ (total >> U64(33))) * PRIME2
    total = (total ^ (total >> U64(29))) * PRIME3
    return total ^ (total >> U64(32))


def compile_kernels() -> None:
    """Fill numba's cache once, before several processes would all compile the same."""
    empty, offsets = np.empty(0, np.uint8), np.zeros(2, np.int32)
    hash_texts(empty, offsets)
    parse_hex(empty, offsets)
