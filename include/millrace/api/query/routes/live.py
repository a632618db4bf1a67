"""Numbers as they change."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from millrace.api.query import parameters as said
from millrace.api.query.identity import Viewer, while_known
from millrace.api.query.problems import declared
from millrace.api.query.ranges import invalid
from millrace.api.query.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["numbers"])


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"


@router.get(
    "/live",
    response_class=_EventStream,
    responses={
        200: {"description": "Events `numbers`, each the answer as GET /v1/metrics has it."},
        **declared(400, 401, 403, 422, 503),
    },
)
async def live(  # noqa: PLR0913, PLR0917  the parameters, as OpenAPI shows them
    request: Request,
    service: ServiceOf,
    whose: Viewer,
    name: said.NamesOf,
    range_: said.RangeOf = "15min",
    interval: said.IntervalOf = "1min",
    tz: said.ZoneOf = "UTC",
    group_by: said.GroupsOf = "",
    filter_: said.FilterOf = "",
    compare: said.CompareOf = "",
    limit: Annotated[int, Query(description=said.LIMIT, ge=1, le=100)] = 10,
    complete_only: said.CompleteOnlyOf = False,
    max_age: said.MaxAgeOf = 0,
) -> StreamingResponse:
    """Stream the newest numbers as server-sent events: now, and after every load that changes them.

    The stream ends when the watcher goes, or may not watch any longer.
    """
    parameters = {
        "name": name, "range": range_, "interval": interval, "tz": tz, "group_by": group_by,
        "filter": filter_, "compare": compare, "limit": str(limit),
        "complete_only": str(complete_only), "max_age": f"{max_age:g}",
    }  # fmt: skip
    if unknown := sorted(set(request.query_params) - set(parameters)):
        there_are = f"no such parameter of live numbers. There are: {', '.join(parameters)}."
        raise invalid(unknown[0][:50], there_are)
    service.live.check(parameters, whose)
    events = while_known(service, request, whose, service.live.watch(parameters, whose))
    return _EventStream(events, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
