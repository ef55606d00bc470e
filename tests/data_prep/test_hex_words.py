"""Eight characters at a time against Python's own reading of them."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from data_prep.hex_words import hex_value, is_hex, load_word


@njit
def word_at(data, position):  # type: ignore[no-untyped-def]
    word = load_word(data, position)
    return is_hex(word), hex_value(word)


def read(text: bytes, position: int = 0) -> tuple[bool, int]:
    return word_at(np.frombuffer(text, np.uint8), position)


@given(st.text(string.hexdigits, min_size=8, max_size=8), st.integers(0, 9))
def test_hex_digits_are_read_wherever_they_begin(digits: str, position: int) -> None:
    assert read(b"\t" * position + digits.encode() + b"\n", position) == (True, int(digits, 16))


@pytest.mark.parametrize("byte", range(256))
@pytest.mark.parametrize("place", [0, 3, 7])
def test_one_other_byte_anywhere_is_seen(byte: int, place: int) -> None:
    text = bytearray(b"0fF9aA12")
    text[place] = byte
    assert read(bytes(text))[0] == (chr(byte) in string.hexdigits)


@given(st.binary(min_size=8, max_size=8))
def test_any_bytes(text: bytes) -> None:
    assert read(text)[0] == all(chr(byte) in string.hexdigits for byte in text)
