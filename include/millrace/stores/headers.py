"""Kafka headers as the warehouse keeps them, whatever bytes their names are made of.

A message's headers are a JSON array of ``[name, base64 value]``, the value null where it is null in
Kafka, and empty text where there are none. The name of a header need not be UTF-8; then it is kept
with U+FFFD in place of what can't be read, and its bytes follow: ``[name, value, base64 name]``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

PREFIX = "x-millrace-"
"""What the names of Millrace's own headers begin with."""

NAMES = f"{PREFIX}header-names"
"""Sent beside headers whose names are not UTF-8, which the client can't send: a JSON array of
``[name as it is sent, base64 of its bytes]``, in their order."""

UNREADABLE = f"{PREFIX}headers-unreadable"
"""Kept in place of a message's headers where they could not be read; the value says why."""

Header = tuple[bytes, bytes | None]


def encode(headers: Sequence[Header]) -> bytes:
    """Return headers, their names as bytes, in the form that the warehouse keeps."""
    if not headers:
        return b""
    return json.dumps([_entry(*header) for header in headers], separators=(",", ":")).encode()


def _entry(name: bytes, value: bytes | None) -> list[str | None]:
    kept = None if value is None else _text(value)
    try:
        return [name.decode(), kept]
    except UnicodeDecodeError:
        return [_shown(name), kept, _text(name)]


def decode(stored: str) -> list[Header]:
    """Return the headers that ``encode`` made ``stored`` of."""
    return [
        (
            base64.b64decode(rest[1]) if len(rest) > 1 else name.encode(),
            None if rest[0] is None else base64.b64decode(rest[0]),
        )
        for name, *rest in json.loads(stored or "[]")
    ]


def sendable(headers: Sequence[Header]) -> list[tuple[str, bytes | None]]:
    """Return headers as the client takes them; ``NAMES`` tells those that it had to rename."""
    odd = [[_shown(name), _text(name)] for name, _ in headers if _shown(name).encode() != name]
    sent = [(_shown(name), value) for name, value in headers]
    return [*sent, (NAMES, json.dumps(odd).encode())] if odd else sent


def _shown(name: bytes) -> str:
    return name.decode(errors="replace")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
