"""What Prometheus scrapes, on the path that it expects."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from millrace.api import scrapes
from millrace.api.query.identity import Viewer
from millrace.api.query.routes import metrics
from millrace.api.query.service import ServiceOf

router = APIRouter(tags=["health"])


EXPOSITION = {scrapes.CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}
ANSWERS = metrics.ANSWERS | {
    200: metrics.ANSWERS[200] | {"content": metrics.ANSWERS[200]["content"] | EXPOSITION}
}


@router.get("/metrics", response_class=Response, responses=ANSWERS)
async def own_metrics(
    request: Request,
    service: ServiceOf,
    whose: Viewer,
    name: Annotated[str | None, Query(description="Asks what GET /v1/metrics does.")] = None,
) -> Response:
    """Tell how the API does, in Prometheus' text format; with a ``name`` answer for that metric."""
    if name is not None:
        return await metrics.answered(request, service, whose)
    return Response(scrapes.text(), media_type=scrapes.CONTENT_TYPE_LATEST)
