"""Eight hex digits at a time: the ids of Criteo's logs, read as one 64-bit number rather than byte by byte. Compiled with its caller."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

DIGITS = 8
BYTES, HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
NIBBLES, PAIRS, QUADS = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
LOWER_CASE = np.uint64(0x20) * BYTES
# Added to a byte below 128, they set its highest bit from this character on.
FROM_0, BEYOND_9 = np.uint64(0x80 - ord("0")) * BYTES, np.uint64(0x80 - ord("9") - 1) * BYTES
FROM_A, BEYOND_F = np.uint64(0x80 - ord("a")) * BYTES, np.uint64(0x80 - ord("f") - 1) * BYTES
NINE, FOUR, SIX, EIGHT, SIXTEEN, THIRTY_TWO = (np.uint64(number) for number in (9, 4, 6, 8, 16, 32))


@intrinsic
def load_word(typing: Any, data: Any, position: Any) -> Any:
    """The 8 bytes of a byte array from `position` on, the first one lowest. Nothing checks that they are there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = builder.load(builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer()))
        word.align = 1  # a number may begin at any byte
        return word

    return types.uint64(data, types.intp), generate


@njit(cache=True, nogil=True)
def is_hex(word):  # type: ignore[no-untyped-def]
    """Whether all 8 bytes are hex digits."""
    lower = word | LOWER_CASE
    decimal = (word + FROM_0) & ~(word + BEYOND_9)
    letter = (lower + FROM_A) & ~(lower + BEYOND_F)
    # A byte from 128 on could carry into the next one's test; it fails its own.
    return (decimal | letter) & ~word & HIGH_BITS == HIGH_BITS


@njit(cache=True, nogil=True)
def hex_value(word):  # type: ignore[no-untyped-def]
    """The number that 8 hex digits spell; its first digit is the lowest byte."""
    nibbles = (word & NIBBLES) + NINE * ((word >> SIX) & BYTES)
    pairs = ((nibbles << FOUR) | (nibbles >> EIGHT)) & PAIRS
    quads = ((pairs << EIGHT) | (pairs >> SIXTEEN)) & QUADS
    return np.uint32((quads << SIXTEEN) | (quads >> THIRTY_TWO))
