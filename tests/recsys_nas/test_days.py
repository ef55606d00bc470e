"""Sets of days, as configs write them."""

from __future__ import annotations

import pytest

from recsys_nas.config import parse_days


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0-4", (0, 1, 2, 3, 4)),
        ("3", (3,)),
        ("2-2", (2,)),
        ("5,0-1", (0, 1, 5)),
        (" 0 - 1 , 4 ", (0, 1, 4)),
        ("1,0-2,1", (0, 1, 2)),
        ("10", (10,)),
    ],
)
def test_days_are_parsed(text: str, days: tuple[int, ...]) -> None:
    assert parse_days(text, "here") == days


def test_an_error_in_days_names_the_place_and_the_way_to_write_them() -> None:
    with pytest.raises(ValueError, match=r"^retrain\.days = '4-': write days as '0-4' or '0,2,5'$"):
        parse_days("4-", "retrain.days")
