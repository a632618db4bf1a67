"""Refusals, as RFC 9457 has them: every answer that is none says why, and what to do."""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus
from typing import Any, cast

import clickhouse_connect.driver.exceptions
import psycopg
from confluent_kafka import KafkaException
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from millrace.api.http import PROBLEM, ProblemError
from millrace.api.query.warehouse import WarehouseAwayError

log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """What is wrong with one member of a request."""

    pointer: str = Field(description="Where it is, as RFC 6901 has it: /body/filter/0.")
    detail: str


class Problem(BaseModel):
    """Why a request is refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="One of the closed list in docs/query-api.md.")
    errors: list[FieldProblem] = []


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route says of its refusals in OpenAPI."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def besides(error: ProblemError) -> dict[str, str]:
    """Return the headers that a refusal has in any form."""
    found = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        found["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        found["retry-after"] = str(error.retry_after)
    return found


def install(app: FastAPI) -> None:
    """Have the application answer with problems."""

    def problem(request: Request, error: ProblemError) -> Response:
        answer = error.response(request.scope.get("request_id", secrets.token_hex(8)))
        return Response(answer.body, answer.status, answer.headers | besides(error))

    async def refused(request: Request, error: Exception) -> Response:
        return problem(request, cast("ProblemError", error))

    async def invalid(request: Request, error: Exception) -> Response:
        error = cast("RequestValidationError", error)
        errors = [
            {"pointer": "/" + "/".join(map(str, one["loc"])), "detail": one["msg"]}
            for one in error.errors()
        ]
        first = errors[0]
        detail = f"{first['pointer']}: {first['detail']}"
        return problem(
            request, ProblemError(422, "invalid_request", detail, extra={"errors": errors})
        )

    async def plain(request: Request, error: Exception) -> Response:
        error = cast("HTTPException", error)
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            code = "too_large"
        hint = (
            f"{request.method} {request.url.path[:200]}: {error.detail}. /docs lists every route."
        )
        return problem(request, ProblemError(error.status_code, code, hint))

    async def away(request: Request, error: Exception) -> Response:
        log.warning("PostgreSQL does not answer: %s", error)
        detail = "PostgreSQL does not answer; ./millrace status says more."
        return problem(request, ProblemError(503, "unavailable", detail, retry_after=5))

    async def elsewhere(request: Request, error: Exception) -> Response:
        log.warning("%s %s: a server does not answer: %s", request.method, request.url.path, error)
        detail = "ClickHouse or Kafka does not answer; ./millrace status says more."
        return problem(request, ProblemError(503, "unavailable", detail, retry_after=5))

    async def made_meanwhile(request: Request, error: Exception) -> Response:
        log.info("%s %s: %s", request.method, request.url.path, error)
        detail = "Somebody else made the same in this moment; look what is there."
        return problem(request, ProblemError(409, "exists", detail))

    async def failed(request: Request, error: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        detail = "The API failed; its log says more."
        return problem(request, ProblemError(500, "internal_error", detail))

    app.add_exception_handler(ProblemError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(psycopg.OperationalError, away)
    app.add_exception_handler(clickhouse_connect.driver.exceptions.OperationalError, elsewhere)
    app.add_exception_handler(WarehouseAwayError, elsewhere)
    app.add_exception_handler(KafkaException, elsewhere)
    app.add_exception_handler(psycopg.errors.UniqueViolation, made_meanwhile)
    app.add_exception_handler(Exception, failed)
