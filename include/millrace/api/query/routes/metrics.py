"""Numbers: any metric by any dimension it has, and what each number is worth."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from millrace.access.roles import Principal
from millrace.api.query import parameters as said
from millrace.api.query.asked import FORMATS, Inquiry, is_unchanged, read_manner, unchanged
from millrace.api.query.bodies import AGAIN
from millrace.api.query.identity import Viewer
from millrace.api.query.problems import declared
from millrace.api.query.questions import (
    DEFAULT_GROUPS,
    MOST_GROUPS,
    QueryDocument,
    read_document,
    read_query,
)
from millrace.api.query.rendering import AnswerModel
from millrace.api.query.service import Service, ServiceOf

router = APIRouter(tags=["numbers"])

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": AnswerModel,
        "content": {kind.partition(";")[0]: {} for name, kind in FORMATS.items() if name != "json"},
    },
    304: {"description": "The answer that the asker has (If-None-Match) still holds."},
    **declared(400, 401, 403, 422, 429, 503),
}


@router.get("/v1/metrics", responses=ANSWERS, response_class=Response)
async def metrics(  # noqa: PLR0913, PLR0917  the parameters, as OpenAPI shows them
    request: Request,
    service: ServiceOf,
    viewer: Viewer,
    name: said.NamesOf,
    range_: said.RangeOf = "7d",
    interval: said.IntervalOf = "",
    tz: said.ZoneOf = "UTC",
    group_by: said.GroupsOf = "",
    filter_: said.FilterOf = "",
    compare: said.CompareOf = "",
    limit: Annotated[int, Query(description=said.LIMIT, ge=1, le=MOST_GROUPS)] = DEFAULT_GROUPS,
    complete_only: said.CompleteOnlyOf = False,
    cursor: said.CursorOf = "",
    max_age: said.MaxAgeOf = 0,
    format_: said.FormatOf = "",
) -> Response:
    """Ask metrics by dimensions over a range of time."""
    return await answered(request, service, viewer)


async def answered(request: Request, service: Service, whose: Principal) -> Response:
    """Return the answer to what a request's parameters ask."""
    parameters = dict(request.query_params)
    manner = read_manner(parameters, request.headers)
    registry = service.answering.registry_of(whose)
    question = read_query(parameters, registry, datetime.now(UTC), whose)
    return await _answered(service, request, Inquiry(question, manner), whose)


@router.post("/v1/query", responses=ANSWERS, response_class=Response)
async def query(
    request: Request, service: ServiceOf, viewer: Viewer, document: QueryDocument
) -> Response:
    """Ask several metrics at once, with and, or and not: a dashboard in one request."""
    manner = read_manner(dict(request.query_params) | document.manner, request.headers)
    registry = service.answering.registry_of(viewer)
    question = read_document(document, registry, datetime.now(UTC), viewer)
    return await _answered(service, request, Inquiry(question, manner), viewer)


async def _answered(
    service: Service, request: Request, inquiry: Inquiry, whose: Principal
) -> Response:
    began = time.perf_counter()
    state = service.asked.state(inquiry)
    still = unchanged(state, inquiry.manner)
    if is_unchanged(request.headers.get("if-none-match", ""), still["etag"]):
        return Response(status_code=304, headers=still)
    body = service.asked.kept(inquiry, state)
    if body is not None:
        return Response(body.again(began), headers=body.headers | AGAIN)
    body = await service.asked.body(inquiry, state, whose)
    return Response(body.content, headers=body.headers)
