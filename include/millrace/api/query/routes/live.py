"""Numbers as they change."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from millrace.api.query.identity import Viewer, while_known
from millrace.api.query.problems import declared
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
    name: Annotated[str, Query(description="Metrics, comma separated.")],
    range_: Annotated[str, Query(alias="range", description="How long back: 15min.")] = "15min",
    interval: Annotated[str, Query(description="As of GET /v1/metrics.")] = "1min",
    tz: Annotated[str, Query(description="IANA time zone.")] = "UTC",
    group_by: Annotated[str, Query(description="Dimensions, comma separated.")] = "",
    filter_: Annotated[str, Query(alias="filter", description="dimension:value, …")] = "",
    limit: Annotated[int, Query(ge=1, le=100, description="Groups at most.")] = 10,
) -> StreamingResponse:
    """Stream the newest numbers as server-sent events: now, and after every load that changes them.

    The stream ends when the watcher goes, or may not watch any longer.
    """
    parameters = {
        "name": name, "range": range_, "interval": interval, "tz": tz, "group_by": group_by,
        "filter": filter_, "limit": str(limit),
    }  # fmt: skip
    service.live.check(parameters, whose)
    events = while_known(service, request, whose, service.live.watch(parameters, whose))
    return _EventStream(events, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
