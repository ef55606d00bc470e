"""How every message counts: one thing in the singular, any other number of it in the plural."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 day`, `0 days`, `12,000 rows`; `plural` where it is not `noun` with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
