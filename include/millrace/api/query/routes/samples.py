"""The single events, or rejected messages, that a number is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from millrace.api.http import ProblemError
from millrace.api.query.identity import Analyst, check_dataset
from millrace.api.query.plans import plan
from millrace.api.query.problems import declared
from millrace.api.query.questions import read_query
from millrace.api.query.service import ServiceOf

router = APIRouter(tags=["numbers"])

COLUMNS = {
    "events": (
        "event_id", "event_time", "event_type", "toString(user_id) AS user_id", "page", "country",
        "device", "properties", "device_info", "geo_location", "warnings", "received_at",
        "source_id",
    ),
    "rejected_events": (
        "rejected_at", "kafka_timestamp", "source_id", "reason", "field", "rule", "detail", "topic",
        "partition", "toString(offset) AS offset",
    ),
}  # fmt: skip
"""What is shown of a table's rows; numbers of 64 bits are texts, which JavaScript keeps whole."""
MOST = 1_000


class Samples(BaseModel):
    """Rows of one table, the newest first."""

    table: str = Field(description="events or rejected_events.")
    rows: list[dict[str, Any]]


@router.get("/v1/samples", responses=declared(400, 401, 403, 422, 503))
async def samples(
    request: Request,
    service: ServiceOf,
    analyst: Analyst,
    name: Annotated[str, Query(description="One metric.")],
    range_: Annotated[str, Query(alias="range", description="As of GET /v1/metrics.")] = "24h",
    tz: Annotated[str, Query(description="IANA time zone.")] = "UTC",
    filter_: Annotated[str, Query(alias="filter", description="As of GET /v1/metrics.")] = "",
    limit: Annotated[int, Query(description="Rows at most.", ge=1, le=MOST)] = 100,
) -> Samples:
    """Show the newest events, or rejected messages, that a metric's number is made of."""
    parameters = {"range": range_, **request.query_params}
    question = read_query(
        parameters, service.answering.registry_of(analyst), datetime.now(UTC), analyst
    )
    if question.group_by or question.compare or len(question.metrics) > 1:
        raise ProblemError(
            422, "invalid_request", "Samples are of one metric: name, range, tz, filter and limit."
        )
    made = plan(question, name, service.answering.registry)
    found = made.samples(COLUMNS, limit)
    if found is None:
        raise ProblemError(
            422,
            "no_samples",
            f"{name} is made of no single events; ask for those of events, page_views or "
            "rejected_events with the same filter.",
        )
    table, statement = found
    check_dataset(analyst, table)
    lines = await service.warehouse.formatted(*statement, "JSONEachRow", whose=analyst)
    return Samples(table=table, rows=[orjson.loads(line) for line in lines.splitlines()])
