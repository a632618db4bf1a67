"""What the families' tests share: a source, a moment of receipt, and requests to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from millrace.api.http import Request
from millrace.api.ingestion import families
from millrace.api.ingestion.families.family import Account

RECEIVED_AT = 1_795_939_200_000
"""2026-11-29T08:00:00Z."""

ACCOUNT = Account("shop", {"aliases": {"Order Completed": "purchase"}}, b"a key that hashes ids")
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"


def request(
    method: str,
    path: str,
    document: Any = None,
    *,
    body: bytes = b"",
    query: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Request:
    """Return a request as the app hands it over."""
    return Request(
        method,
        path,
        urlencode(query or {}).encode(),
        headers or {},
        body if document is None else msgspec.json.encode(document),
        "request-1",
        RECEIVED_AT,
        "192.0.2.7",
    )


def translate(asked: Request, account: Account = ACCOUNT) -> list[dict[str, Any]]:
    """Return the events of a request, each read back from the JSON that Kafka gets."""
    family = families.find(asked.method, asked.path)
    assert family is not None, f"{asked.method} {asked.path} is nobody's"
    events = family.read(asked, account).events
    return [
        msgspec.json.decode(one if isinstance(one, bytes) else msgspec.json.encode(one))
        for one in events
    ]
