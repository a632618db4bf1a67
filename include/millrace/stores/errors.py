"""What servers say when they refuse."""

from __future__ import annotations


def first_line(error: object, most: int = 300) -> str:
    """Return what an error says first, short enough for a column or a log; never with a NUL."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].replace("\0", "")[:most]
