"""Users of Airflow come over, without a second login."""

from __future__ import annotations

import logging

import psycopg
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from millrace.access import tickets, users
from millrace.access.keys import AccessError
from millrace.api.http import ProblemError
from millrace.api.query import arrivals
from millrace.api.query.identity import LETS_IN, begin
from millrace.api.query.problems import declared
from millrace.api.query.service import ServiceOf

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/airflow", tags=["people"])


@router.get(
    "/session",
    response_class=HTMLResponse,
    dependencies=[LETS_IN],
    responses=declared(401, 422, 503),
)
def come_over(
    request: Request,
    service: ServiceOf,
    ticket: str,
    next: str = "/docs",
) -> Response:
    """Begin the session of a user of Airflow: its plugin gave the browser a ticket.

    It works once, and not for a link on another site: that would sign somebody else in.
    """
    try:
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise AccessError("another site led here")
        seen = tickets.read(service.recognition.seal, ticket)
        with service.connection() as connection:
            user = users.of_provider(connection, seen.name, tickets.ISSUER, seen.subject, seen.role)
            session = begin(connection, request, service, user.name, seen.ticket_id)
    except (AccessError, psycopg.errors.UniqueViolation) as error:
        said = error if isinstance(error, AccessError) else "the ticket was used before"
        log.warning("a login by Airflow failed: %s", said)
        detail = f"You are not signed in: {said}. Open the page from Airflow's menu again."
        raise ProblemError(401, "sign_in_failed", detail) from None
    return arrivals.answer(service, session, next)
