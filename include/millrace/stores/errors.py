"""What servers say when they refuse."""

from __future__ import annotations


def first_line(error: object, most: int = 300) -> str:
    """Return what an error says first, short enough for a column or a log; never with a NUL."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].replace("\0", "")[:most]


PASSING_CODES = frozenset({159, 164, 202, 209, 210, 236, 241, 242, 243, 252, 319, 394, 439, 999})
"""ClickHouse's: time, memory, disk or connections ran out, a table is read-only, it stops."""


def may_pass(error: Exception) -> bool:
    """Tell whether what ClickHouse refused may do later, as it is."""
    return getattr(error, "code", None) in PASSING_CODES
