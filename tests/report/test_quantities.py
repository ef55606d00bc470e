"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_nas.report.quantities import at_share, count, duration, share, signed, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (416, "416"),
        (1664, "1.66 k"),
        (61_440, "61.4 k"),
        (412_672, "413 k"),
        (999_499, "999 k"),
        (999_700, "1.00 M"),
        (2.5e12, "2.50 T"),
    ],
)
def test_count(value: float, text: str) -> None:
    assert count(value) == text


def test_count_with_a_unit() -> None:
    assert (count(12, "B"), count(1664, "B")) == ("12 B", "1.66 kB")


@given(st.floats(1, 1e14))
def test_count_stays_within_one_percent(value: float) -> None:
    number, _, prefix = count(value).partition(" ")
    assert float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix] == pytest.approx(value, rel=0.01, abs=0.5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (93.4, "1 min 33 s"),
        (3599.7, "1 h 0 min"),
        (7325, "2 h 2 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_signed_has_a_real_minus_and_no_sign_on_nought() -> None:
    assert [signed(0.00123), signed(-0.00123), signed(-0.00001)] == ["+0.0012", "\N{MINUS SIGN}0.0012", "0.0000"]


def test_interval_is_left_out_when_there_is_none() -> None:
    assert (with_interval("0.7", 0.01), with_interval("0.7", None)) == ("0.7 ± 0.0100", "0.7")


@pytest.mark.parametrize(("ratio", "text"), [(0.0021, "0.21 %"), (0.15, "15 %"), (1.84, "1.8 times"), (42.0, "42 times")])
def test_share(ratio: float, text: str) -> None:
    assert share(ratio) == text


def test_at_share_reads_as_a_phrase() -> None:
    assert at_share(0.15, "dense FLOPs") == "at 15 % of its dense FLOPs"
    assert at_share(1.0, "dense FLOPs") == "at the same dense FLOPs"
    assert at_share(1.84, "dense FLOPs") == "at 1.8 times its dense FLOPs"
