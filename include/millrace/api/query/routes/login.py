"""Signing in with a password, going on, and signing out."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from millrace.access import passwords, sessions, users
from millrace.access.sessions import Session, SessionError
from millrace.access.signing import ACCESS_SECONDS
from millrace.api.http import ProblemError
from millrace.api.query import cookies
from millrace.api.query.identity import CHECKS_PASSWORD, LETS_IN, address, begin
from millrace.api.query.problems import declared
from millrace.api.query.service import Connection, Service, ServiceOf

log = logging.getLogger(__name__)

router = APIRouter(tags=["people"])


class Credentials(BaseModel):
    """Who signs in."""

    name: str = Field(max_length=200)
    password: SecretStr = Field(max_length=1000)
    cookies: bool = Field(False, description="Give a browser cookies instead of tokens.")


class Refresh(BaseModel):
    """What a session goes on with; a browser's is in its cookie."""

    refresh_token: SecretStr | None = None


class SignedIn(BaseModel):
    """A session: tokens for a program, or cookies and what guards them for a browser."""

    name: str
    expires_in: int = Field(description="Seconds for which the access token is good.")
    access_token: str | None = None
    refresh_token: str | None = Field(None, description="Good once; each answer has the next.")
    csrf_token: str | None = Field(
        None, description="What a page repeats in the header X-CSRF-Token."
    )


class JsonWebKeys(BaseModel):
    """Public keys that access tokens are verified with (RFC 7517)."""

    keys: list[dict[str, Any]]


@router.post("/v1/login", dependencies=[CHECKS_PASSWORD], responses=declared(401, 422, 429, 503))
def login(
    credentials: Credentials, request: Request, response: Response, service: ServiceOf
) -> SignedIn:
    """Sign in with a name and a password."""
    name, place = credentials.name.strip().lower(), address(request, service.settings.query_proxies)
    service.logins.take(name, place)
    with service.connection() as connection:
        kept = users.password_hash(connection, name)
    if not passwords.verify(kept, credentials.password.get_secret_value()):
        log.warning("a login of %r from %s failed", name[:64], place)
        raise ProblemError(401, "wrong_password", "There is no such name and password.")
    service.logins.forgive(name)
    with service.connection() as connection:
        session = begin(connection, request, service, name)
    return _give(response, service, session, has_cookies=credentials.cookies)


@router.post("/v1/refresh", dependencies=[LETS_IN], responses=declared(401, 403, 422, 503))
def refresh(
    request: Request, response: Response, service: ServiceOf, body: Refresh | None = None
) -> SignedIn:
    """Refresh a session: the refresh token is used up, and the answer has the next.

    One that comes a second time was copied, and ends the session for everybody.
    """
    text, has_cookies = _refresh_token(request, body)
    with service.connection() as connection:
        if has_cookies:
            _check_page(connection, request, service, text)
        try:
            session = sessions.go_on(connection, text)
        except SessionError as error:
            raise ProblemError(401, "session_over", f"Sign in again: {error}.") from None
    return _give(response, service, session, has_cookies=has_cookies)


@router.post(
    "/v1/logout",
    status_code=204,
    dependencies=[LETS_IN],
    responses=declared(401, 403, 422, 503),
)
def logout(
    request: Request, response: Response, service: ServiceOf, body: Refresh | None = None
) -> None:
    """Sign out: the session ends, and its access tokens with it within 5 s."""
    text, has_cookies = _refresh_token(request, body)
    with service.connection() as connection:
        session_id = (
            _check_page(connection, request, service, text)
            if has_cookies
            else sessions.session_of(connection, text)
        )
        if session_id is not None:
            sessions.end(connection, session_id, "logout")
    cookies.take(response)


@router.get("/.well-known/jwks.json", responses=declared(503))
async def jwks(service: ServiceOf) -> JsonWebKeys:
    """Return the public keys that access tokens are verified with."""
    return JsonWebKeys(keys=service.recognition.signer.public_keys())


def _give(response: Response, service: Service, session: Session, *, has_cookies: bool) -> SignedIn:
    access = service.recognition.access_token(session)
    answer = SignedIn(name=session.user, expires_in=ACCESS_SECONDS)
    if has_cookies:
        answer.csrf_token = cookies.give(
            response, service.settings, service.recognition.seal, session, access
        )
    else:
        answer.access_token = access
        answer.refresh_token = session.refresh_token
    return answer


def _refresh_token(request: Request, body: Refresh | None) -> tuple[str, bool]:
    """Return the refresh token, and whether it came in a cookie. Raises ``ProblemError`` (401)."""
    if body is not None and body.refresh_token is not None:
        return body.refresh_token.get_secret_value(), False
    text = request.cookies.get(cookies.REFRESH)
    if not text:
        raise ProblemError(401, "session_over", "There is no refresh token: sign in at /v1/login.")
    return text, True


def _check_page(
    connection: Connection, request: Request, service: Service, text: str
) -> str | None:
    """Refuse what other sites' pages send. Raises ``ProblemError`` (403)."""
    session_id = sessions.session_of(connection, text)
    if session_id is not None:
        cookies.check(request, service.recognition.seal, session_id)
    return session_id
