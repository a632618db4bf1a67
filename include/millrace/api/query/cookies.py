"""Sessions of browsers: cookies that no other site sends, and what guards them.

Cookies are ``SameSite=Strict`` and, but for the one that the page reads, ``HttpOnly``. Whatever
changes something must repeat that one's value in a header, which only pages of our own can.
"""

from __future__ import annotations

import hmac

from fastapi import Request, Response

from millrace.access import sessions
from millrace.access.sessions import Session
from millrace.access.signing import ACCESS_SECONDS, Seal
from millrace.api.http import ProblemError
from millrace.settings import Settings

ACCESS = "millrace_access"
REFRESH = "millrace_refresh"
CSRF = "millrace_csrf"
CSRF_HEADER = "x-csrf-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_PATHS = {ACCESS: "/", REFRESH: "/v1", CSRF: "/"}


def give(response: Response, settings: Settings, seal: Seal, session: Session, access: str) -> str:
    """Set the cookies of a session; return what pages repeat in the header ``X-CSRF-Token``."""
    proof = seal.mark(session.session_id)
    values = {ACCESS: access, REFRESH: session.refresh_token, CSRF: proof}
    for name, value in values.items():
        response.set_cookie(
            name,
            value,
            max_age=ACCESS_SECONDS if name == ACCESS else int(sessions.IDLE_SECONDS),
            path=_PATHS[name],
            secure=is_secure(settings),
            httponly=name != CSRF,
            samesite="strict",
        )
    return proof


def take(response: Response) -> None:
    """Have the browser forget a session."""
    for name, path in _PATHS.items():
        response.delete_cookie(name, path=path)


def is_secure(settings: Settings) -> bool:
    """Tell whether people open the API by HTTPS, so that browsers send cookies only there."""
    return settings.query_url.startswith("https:")


def check(request: Request, seal: Seal, session_id: str) -> None:
    """Let through what changes nothing, or comes from a page of ours.

    Raises ``ProblemError`` (403).
    """
    if request.method in SAFE:
        return
    given = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), seal.mark(session_id).encode()):
        raise ProblemError(
            403,
            "csrf",
            f"A request with cookies must repeat the cookie {CSRF} in the header X-CSRF-Token.",
        )
