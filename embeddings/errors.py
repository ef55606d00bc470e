"""What can be wrong with tables, plans and the machine they are meant for; its text is one line: what, where, what to do."""

from __future__ import annotations


class TableError(ValueError):
    """Tables, a sharding plan or a machine that do not go together, or input that the tables cannot take."""


class DoesNotFit(TableError):
    """Tables that are larger than the memory of all ranks, or than what the config allows to use of it."""
