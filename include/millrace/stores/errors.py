"""What servers say when they refuse."""

from __future__ import annotations

import re

_DRIVER = re.compile(
    r"^Received ClickHouse exception, code: \d+, server response: |\s*\(for url [^()]*\)$"
)
_CODE = re.compile(
    r"^Code: \d+\. (?:\w+::)*Exception: (?:Received from \S+ (?:\w+::)*Exception: )*"
)
_VERSION = re.compile(r"\s*\(version (?:[^()]|\([^()]*\))*\)$")
_STACK = re.compile(r",? Stack trace(?: \(when copying[^)]*\))?:.*", re.DOTALL)
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)$")


def plain(said: object) -> str:
    """Return what ClickHouse said, and its name of it: without code, class, version and address.

    Of what others say nothing is taken away.
    """
    text = _DRIVER.sub("", str(said).strip())
    if not (code := _CODE.match(text)):
        return text
    return _VERSION.sub("", _STACK.sub("", text[code.end() :]).strip())


def name(said: str) -> str:
    """Return ClickHouse's name of an error, such as ``UNKNOWN_TABLE``, from its plain text."""
    found = _NAME.search(said)
    return found[1] if found else ""


def first_line(error: object, most: int = 300) -> str:
    """Return what an error says first, short enough for a column or a log; never with a NUL."""
    lines = plain(error).splitlines() or [type(error).__name__]
    return lines[0].replace("\0", "")[:most]


PASSING_CODES = frozenset({159, 164, 202, 209, 210, 236, 241, 242, 243, 252, 319, 394, 439, 999})
"""ClickHouse's: time, memory, disk or connections ran out, a table is read-only, it stops."""


def may_pass(error: Exception) -> bool:
    """Tell whether what ClickHouse refused may do later, as it is."""
    return getattr(error, "code", None) in PASSING_CODES
