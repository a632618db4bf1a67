"""Cross-origin requests: which pages may send, and what their browsers are told.

The origin is echoed, since ``*`` is not allowed beside credentials, which Snowplow's tracker
sends; asked-for headers are mirrored, since SDKs invent them and ``*`` does not cover
``Authorization``. A preflight shows no key, so it binds nobody to origins: the request does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from millrace.access.keys import Key
from millrace.api.http import ProblemError

MAX_AGE_SECONDS = 86_400
EXPOSED = "Retry-After, RateLimit, RateLimit-Policy, X-Request-Id"
METHODS = "GET, POST, OPTIONS"


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a browser asks what it may send (``headers`` have names in lower case)."""
    return (
        method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
    )


def preflight(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that answer a preflight, with status 204 and no body."""
    answer = answered(headers) | {
        "access-control-allow-methods": METHODS,
        "access-control-max-age": str(MAX_AGE_SECONDS),
        "vary": "Origin, Access-Control-Request-Headers",
    }
    asked = headers.get("access-control-request-headers")
    if asked:
        answer["access-control-allow-headers"] = asked
    return answer


def answered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that let a page read an answer, errors too; none without an origin."""
    origin = headers.get("origin")
    if not origin:
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": EXPOSED,
        "vary": "Origin",
    }


def check(key: Key, headers: Mapping[str, str]) -> None:
    """Let pages of the key's origins send with it. Raises ``ProblemError`` (403) for others.

    What has no origin comes from no page, or is a beacon of the same origin, and is not bound.
    """
    origin = headers.get("origin")
    if origin is None or not key.allowed_origins or is_allowed(origin, key.allowed_origins):
        return
    raise ProblemError(
        403,
        "origin_not_allowed",
        f"Key {key.name} may not be used by pages of {origin}. Make one that may: "
        f"./millrace keys add NAME --origin {origin}",
    )


def is_allowed(origin: str, allowed: Sequence[str]) -> bool:
    """Tell whether an origin is one of those allowed; ``https://*.a.b`` has all hosts below."""
    if origin in allowed:
        return True
    scheme, rest = urlsplit(origin).scheme, origin.partition("://")[2]
    host, _, port = rest.partition(":")
    for pattern in allowed:
        wanted, _, place = pattern.partition("://*.")
        below, _, wanted_port = place.partition(":")
        if place and scheme == wanted and port == wanted_port and host.endswith(f".{below}"):
            return True
    return False
