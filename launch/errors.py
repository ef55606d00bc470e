"""The one error of this package that a user may act on."""

from __future__ import annotations


class LaunchError(ValueError):
    """A run that cannot be started or finished as asked; its text is one line saying what, where and what to do."""
