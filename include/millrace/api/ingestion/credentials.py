"""The key that a request brings, wherever its SDK puts it."""

from __future__ import annotations

import base64
import binascii

from millrace.api.http import ProblemError, Request
from millrace.api.ingestion.bodies import KEY_PARAMETERS
from millrace.api.ingestion.families.family import Family

HEADERS = ("x-write-key", "x-api-key", "openpanel-client-id")
"""Headers that hold a key and nothing else, in the order in which they are looked at."""


def find(request: Request, family: Family | None = None) -> str | None:
    """Return the key as it was sent: from the headers, the query, then as the family's bodies do.

    A body that can't be read names no key: whoever reads it next says what is wrong with it.
    """
    key = _of_authorization(request.headers.get("authorization", ""))
    if key:
        return key
    for name in HEADERS:
        # Jitsu's SDKs send an id and a secret, and insist on the colon: the id is the key.
        if key := request.headers.get(name, "").partition(":")[0].strip():
            return key
    if request.query_string:
        for name in KEY_PARAMETERS:
            if key := request.query.get(name, "").strip():
                return key
    if family is None:
        return None
    try:
        return family.key(request) or None
    except ProblemError:
        return None


def _of_authorization(header: str) -> str:
    """Return the user of Basic (SDKs leave the password empty), or what is behind Bearer."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    user, _, password = pair.partition(":")
    return user or password
