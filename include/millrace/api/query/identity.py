"""Who may ask a route: ``Viewer``, ``Analyst``, ``Operator`` or ``Admin`` as its argument.

A route without one is open to everybody; tests/integration/test_query_rights.py names those.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer

from millrace.access import sessions
from millrace.access.keys import AccessError, ConflictError
from millrace.access.rights import Rights
from millrace.access.roles import Principal, Role
from millrace.access.sessions import Session
from millrace.api.http import ProblemError
from millrace.api.query import cookies
from millrace.api.query.service import Connection, Service, ServiceOf

_bearer = HTTPBearer(
    auto_error=False, description="A token (./millrace tokens add), or an access token of /v1/login"
)
_cookie = APIKeyCookie(
    name=cookies.ACCESS, auto_error=False, description="What /v1/login gives to browsers."
)


def address(request: Request, proxies: int) -> str:
    """Return the address that a request comes from, behind so many proxies of our own."""
    direct = request.client.host if request.client else ""
    lines = request.headers.getlist("x-forwarded-for")  # each proxy may add to one, or add one
    said = [part.strip() for line in lines for part in line.split(",")]
    return said[-proxies][:64] if proxies and len(said) >= proxies and said[-proxies] else direct


def begin(
    connection: Connection, request: Request, service: Service, name: str, session_id: str = ""
) -> Session:
    """Begin the session of somebody who was recognised."""
    place = address(request, service.settings.query_proxies)
    client = request.headers.get("user-agent", "")
    return sessions.begin(connection, name, place, client, session_id or None)


def refusal(error: AccessError) -> ProblemError:
    """Return the problem of what can't be done to a user or token."""
    if isinstance(error, ConflictError):
        return ProblemError(409, "conflict", f"{error}.")
    return ProblemError(422, "invalid_request", f"{error}.")


def check_rights(given: Rights, giver: Principal) -> None:
    """Refuse rights that are more than who gives them has. Raises ``ProblemError`` (403)."""
    if given.exceed(giver):
        raise ProblemError(
            403,
            "not_allowed",
            "You see some sources or datasets only, and can give no rights to others: name "
            "sources and datasets that are yours.",
        )


def check_dataset(principal: Principal, dataset: str) -> None:
    """Refuse who may not see a dataset. Raises ``ProblemError`` (403)."""
    if not principal.may_see([dataset]):
        raise ProblemError(
            403,
            "not_allowed",
            f"This is of the dataset {dataset}, and you may see others only. "
            "An admin gives rights: ./millrace users list, ./millrace tokens list.",
        )


async def _known(
    request: Request,
    service: ServiceOf,
    _bearer_shown: Annotated[object, Security(_bearer)],
    _cookie_shown: Annotated[object, Security(_cookie)],
) -> Principal:
    principal = recognised(request, service)
    shown = request.headers.get("authorization", "")
    if principal is None and await service.recognition.looked_again(shown):
        principal = recognised(request, service)
    if principal is None:
        raise ProblemError(
            401,
            "not_recognised",
            "Nobody is known by this request: sign in at /v1/login, or send Authorization: Bearer "
            "TOKEN. ./millrace tokens add NAME --role viewer prints a token.",
        )
    request.state.standing = await service.requests.take(principal)
    return principal


def recognised(request: Request, service: Service) -> Principal | None:
    """Return who asks; ``None`` where it is nobody known. Raises ``ProblemError`` (403, 503)."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        return _of_cookie(request, service)
    return service.recognition.principal_of(authorization)


async def while_known(
    service: Service, request: Request, whose: Principal, events: AsyncGenerator[str]
) -> AsyncIterator[str]:
    """Yield events for as long as the watcher has the rights that a stream began with."""
    async with aclosing(events):
        async for event in events:
            if recognised(request, service) != whose:
                return
            yield event


def _of_cookie(request: Request, service: Service) -> Principal | None:
    text = request.cookies.get(cookies.ACCESS)
    claims = service.recognition.claims(text) if text else None
    if claims is None:
        return None
    cookies.check(request, service.recognition.seal, claims.session_id)
    return service.recognition.of_claims(claims)


async def _of_passwords(service: ServiceOf) -> AsyncIterator[None]:
    with service.passwords.one():
        yield


async def _of_arrivals(service: ServiceOf) -> AsyncIterator[None]:
    with service.arrivals.one():
        yield


CHECKS_PASSWORD = Depends(_of_passwords)
"""Of a route that checks strangers' passwords: beyond so many at once it takes no thread."""
LETS_IN = Depends(_of_arrivals)
"""The same of a route by which strangers come in, go on or leave without a password."""


def _at_least(role: Role) -> Callable[..., Awaitable[Principal]]:
    async def check(principal: Annotated[Principal, Depends(_known)]) -> Principal:
        if not principal.has(role):
            raise ProblemError(
                403,
                "not_allowed",
                f"{principal.name} is {principal.role}, and this is for {role} and above. "
                "An admin gives roles: ./millrace users list, ./millrace tokens list.",
            )
        return principal

    return check


Viewer = Annotated[Principal, Depends(_at_least("viewer"))]
Analyst = Annotated[Principal, Depends(_at_least("analyst"))]
Operator = Annotated[Principal, Depends(_at_least("operator"))]
Admin = Annotated[Principal, Depends(_at_least("admin"))]
