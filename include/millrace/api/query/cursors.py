"""Cursors of answers whose groups come in pages: how many were shown, and of which question."""

from __future__ import annotations

import base64
import binascii
import json

from millrace.api.query.ranges import invalid

LONGEST = 100
"""Characters of a cursor; ours are shorter."""


def cursor(shown: int, of: str) -> str:
    """Return the text for having shown so many groups of a question's key."""
    content = json.dumps([shown, _mark(of)])
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def position(text: str, of: str) -> int:
    """Return how many groups a cursor says were shown; none, where it is empty.

    Raises ``ProblemError`` (400) where the cursor is of another question.
    """
    if not text:
        return 0
    try:
        if len(text) > LONGEST:
            raise ValueError
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        shown, mark = json.loads(content)
    except (ValueError, TypeError, binascii.Error):
        shown, mark = -1, ""
    if mark != _mark(of) or not isinstance(shown, int) or shown < 0:
        raise invalid("cursor", "it is of another question: begin again without one.")
    return shown


def _mark(of: str) -> int:
    return binascii.crc32(of.encode())
