"""Errors that more than one feature raises for the same reason."""

from __future__ import annotations


class RuleError(ValueError):
    """A rule, of the gate or of alerts, that can't be taken: names it, its field and the reason."""
