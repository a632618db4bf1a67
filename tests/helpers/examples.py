"""How many examples of a property are tried."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """Return as many as said; a fifth in the fast lane (``./millrace test --unit``)."""
    return count // 5 if settings.get_current_profile_name() == "quick" else count
