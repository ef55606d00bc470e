"""The one error of this package that a caller or a user may act on."""

from __future__ import annotations


class DataError(ValueError):
    """Logs or shards that cannot be used; its text is one line saying what, where and what to do."""
