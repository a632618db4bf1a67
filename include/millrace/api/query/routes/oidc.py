"""Signing in at an OpenID provider: there, and back."""

from __future__ import annotations

import logging
import time
from dataclasses import astuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from millrace.access import users
from millrace.access.keys import AccessError
from millrace.access.oidc import Pending, Provider, ProviderError
from millrace.api.http import ProblemError
from millrace.api.query import arrivals, cookies
from millrace.api.query.identity import LETS_IN, begin
from millrace.api.query.problems import declared
from millrace.api.query.service import Service, ServiceOf

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/oidc", tags=["people"])

COOKIE = "millrace_oidc"
PENDING_SECONDS = 600


@router.get(
    "/login",
    status_code=303,
    response_class=RedirectResponse,
    dependencies=[LETS_IN],
    responses=declared(404, 422, 429, 503),
)
def sign_in_there(service: ServiceOf, next: str = "/") -> Response:
    """Send a browser to the OpenID provider; it comes back signed in, to the page `next`."""
    provider = _provider(service)
    seal = service.recognition.seal
    try:
        url, pending = provider.begin()
    except ProviderError as error:
        raise _away(error) from None
    answer = RedirectResponse(url, 303)
    answer.set_cookie(
        COOKIE,
        seal.seal(
            [COOKIE, *astuple(pending), arrivals.page_of_ours(next), time.time() + PENDING_SECONDS]
        ),
        max_age=PENDING_SECONDS,
        path="/v1/oidc",
        secure=cookies.is_secure(service.settings),
        httponly=True,
        samesite="lax",  # it comes back from the provider's site
    )
    return answer


@router.get(
    "/callback",
    response_class=HTMLResponse,
    dependencies=[LETS_IN],
    responses=declared(401, 404, 422, 503),
)
def come_back(request: Request, service: ServiceOf) -> Response:
    """Begin the session of whom the OpenID provider vouches for."""
    provider = _provider(service)
    seal = service.recognition.seal
    try:
        kind, *secrets, page, until = seal.open(request.cookies.get(COOKIE, ""))
        if kind != COOKIE or time.time() > until:
            raise AccessError("it took too long")
        vouched = provider.finish(Pending(*secrets), dict(request.query_params))
        with service.connection() as connection:
            user = users.of_provider(
                connection, vouched.name, vouched.issuer, vouched.subject, vouched.role
            )
            session = begin(connection, request, service, user.name)
    except ProviderError as error:
        raise _away(error) from None
    except (AccessError, ValueError) as error:
        log.warning("a login at the OpenID provider failed: %s", error)
        detail = f"You are not signed in: {error}. /v1/oidc/login starts over."
        raise ProblemError(401, "sign_in_failed", detail) from None
    answer = arrivals.answer(service, session, page)
    answer.delete_cookie(COOKIE, path="/v1/oidc")
    return answer


def _provider(service: Service) -> Provider:
    if service.provider is None:
        raise ProblemError(
            404,
            "not_found",
            "No OpenID provider is set (MILLRACE_OIDC_ISSUER); sign in at /v1/login.",
        )
    return service.provider


def _away(error: ProviderError) -> ProblemError:
    log.warning("%s", error)
    return ProblemError(503, "unavailable", f"{error}.", retry_after=5)
