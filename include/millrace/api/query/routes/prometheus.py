"""Prometheus' HTTP API, so that Grafana and stock clients read Millrace's metrics.

Answers and errors have Prometheus' form, not that of the other routes. Every query may be sent by
GET, or by POST as a form.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from millrace.alerts.promql import UnsupportedError
from millrace.api.http import JSON, ProblemError
from millrace.api.query import prometheus
from millrace.api.query.cache.answers import found_at
from millrace.api.query.identity import Viewer
from millrace.api.query.problems import besides
from millrace.api.query.prometheus import Seen
from millrace.api.query.prometheus_parameters import Discovery, InstantQuery, RangeQuery
from millrace.api.query.service import Service, ServiceOf
from millrace.api.query.warehouse import StatementError, WarehouseAwayError

log = logging.getLogger(__name__)

SPEAKS = "3.0.0"
"""The version of Prometheus whose API and semantics these are."""
THROWN = 395
"""ClickHouse's code of ``throwIf``, by which compiled statements refuse what Prometheus refuses."""

ErrorType = Literal[
    "bad_data", "execution", "timeout", "unavailable", "unauthorized", "forbidden", "not_found",
    "too_large_entry", "too_many_requests", "internal",
]  # fmt: skip
_ERRORS: dict[int, ErrorType] = {
    400: "bad_data", 401: "unauthorized", 403: "forbidden", 404: "not_found",
    413: "too_large_entry", 422: "execution", 429: "too_many_requests", 503: "unavailable",
}  # fmt: skip
"""Prometheus' own words; for what it has none, those of Mimir, which speaks to the same clients."""


class Failure(BaseModel):
    """An error, as Prometheus says it."""

    status: Literal["error"] = "error"
    errorType: ErrorType  # noqa: N815  Prometheus' name
    error: str


class Result(BaseModel):
    """What an expression gives: ``[seconds, "value"]`` a point."""

    resultType: Literal["matrix", "vector", "scalar", "string"]  # noqa: N815  Prometheus' name
    result: list[Any]


class Evaluated(BaseModel):
    """An answered query."""

    status: Literal["success"] = "success"
    data: Result
    warnings: list[str] = []
    infos: list[str] = Field([], description="From when on numbers are provisional.")


class Listed(BaseModel):
    """Names or values."""

    status: Literal["success"] = "success"
    data: list[str]


class Series(BaseModel):
    """Series, by their labels."""

    status: Literal["success"] = "success"
    data: list[dict[str, str]]


class Meaning(BaseModel):
    """What a metric is."""

    type: Literal["counter", "gauge", "unknown"]
    help: str
    unit: str


class Metadata(BaseModel):
    """What metrics are, by their names."""

    status: Literal["success"] = "success"
    data: dict[str, list[Meaning]]


class Build(BaseModel):
    """Whose API it is."""

    status: Literal["success"] = "success"
    data: dict[str, str]


def _refused(status: int, error: str, kind: ErrorType | None = None) -> Response:
    failure = Failure(errorType=kind or _ERRORS.get(status, "internal"), error=error)
    return Response(failure.model_dump_json(), status, media_type=JSON)


def _problem(problem: ProblemError) -> Response:
    if problem.code == "too_slow":
        return _refused(503, problem.detail, "timeout")
    answer = _refused(problem.status, problem.detail)
    answer.headers.update(besides(problem))
    return answer


def _thrown(error: StatementError) -> Response:
    if error.code == THROWN:
        return _refused(422, error.said.partition(": while ")[0])
    log.warning("a compiled expression was refused: %s", error)
    return _refused(422, f"ClickHouse can't evaluate the expression: {error.said}")


class PrometheusRoute(APIRoute):
    """A route whose refusals are Prometheus'."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                first = error.errors()[0]
                name = first["loc"][-1] if len(first["loc"]) > 1 else ""
                said = first["msg"].removeprefix("Value error, ")
                return _refused(400, f'invalid parameter "{name}": {said}' if name else said)
            except UnsupportedError as error:
                return _refused(400, str(error))
            except ProblemError as error:
                return _problem(error)
            except StatementError as error:
                return _thrown(error)
            except WarehouseAwayError:
                return _refused(503, "ClickHouse does not answer; ./millrace status says more.")
            except TimeoutError:
                return _refused(503, "query timed out in expression evaluation", "timeout")

        return handled


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure} for status in (400, 401, 403, 422, 429, 503)
}
router = APIRouter(
    prefix="/api/v1", tags=["Prometheus"], route_class=PrometheusRoute, responses=REFUSALS
)


async def _seen(service: ServiceOf, whose: Viewer) -> Seen:
    return Seen(whose, service.worth)


SeenOf = Annotated[Seen, Depends(_seen)]
"""What the asker may see."""


async def _evaluated(service: Service, asked: InstantQuery | RangeQuery, seen: Seen) -> Response:
    seconds = None if asked.timeout is None else asked.timeout / 1000
    async with asyncio.timeout(seconds):
        answer = await prometheus.evaluate(
            service.evaluations.rows, asked.query, asked.times, seen, asked.limit
        )
    beside = b""
    if answer.warnings:
        beside += b',"warnings":' + orjson.dumps(answer.warnings)
    until = service.worth.complete_until
    if answer.is_of_samples and asked.times.end > until.timestamp() * 1000:
        beside += b',"infos":' + orjson.dumps([f"numbers after {until:%FT%TZ} are provisional"])
    content = b'{"status":"success","data":%b%b}' % (answer.data, beside)
    return Response(content, media_type=JSON, headers=found_at(answer.kept) if answer.kept else {})


@router.get("/query", response_model=Evaluated)
async def query(
    service: ServiceOf, seen: SeenOf, asked: Annotated[InstantQuery, Query()]
) -> Response:
    """Evaluate an expression at one time."""
    return await _evaluated(service, asked, seen)


@router.post("/query", response_model=Evaluated)
async def query_form(
    service: ServiceOf, seen: SeenOf, asked: Annotated[InstantQuery, Form()]
) -> Response:
    """Evaluate an expression at one time."""
    return await _evaluated(service, asked, seen)


@router.get("/query_range", response_model=Evaluated)
async def query_range(
    service: ServiceOf, seen: SeenOf, asked: Annotated[RangeQuery, Query()]
) -> Response:
    """Evaluate an expression at every step of a range, all in one statement."""
    return await _evaluated(service, asked, seen)


@router.post("/query_range", response_model=Evaluated)
async def query_range_form(
    service: ServiceOf, seen: SeenOf, asked: Annotated[RangeQuery, Form()]
) -> Response:
    """Evaluate an expression at every step of a range, all in one statement."""
    return await _evaluated(service, asked, seen)


async def _series(service: Service, asked: Discovery, seen: Seen) -> Series:
    if not asked.match:
        raise UnsupportedError("no match[] parameter provided")
    found = await prometheus.discover(
        service.warehouse, "series", asked.match, asked.times, seen, asked.limit
    )
    return Series(data=found)


@router.get("/series")
async def series(service: ServiceOf, seen: SeenOf, asked: Annotated[Discovery, Query()]) -> Series:
    """List the series that any of the selectors finds."""
    return await _series(service, asked, seen)


@router.post("/series")
async def series_form(
    service: ServiceOf, seen: SeenOf, asked: Annotated[Discovery, Form()]
) -> Series:
    """List the series that any of the selectors finds."""
    return await _series(service, asked, seen)


async def _labels(service: Service, asked: Discovery, seen: Seen) -> Listed:
    if asked.match:
        names = await prometheus.discover(
            service.warehouse, "names", asked.match, asked.times, seen, asked.limit
        )
    else:
        known = await prometheus.described(service.warehouse, seen)
        names = sorted({"__name__"}.union(*(metric.labels for metric in known)))
    return Listed(data=names[: asked.limit or None])


@router.get("/labels")
async def labels(service: ServiceOf, seen: SeenOf, asked: Annotated[Discovery, Query()]) -> Listed:
    """List the names of labels."""
    return await _labels(service, asked, seen)


@router.post("/labels")
async def labels_form(
    service: ServiceOf, seen: SeenOf, asked: Annotated[Discovery, Form()]
) -> Listed:
    """List the names of labels."""
    return await _labels(service, asked, seen)


@router.get("/label/{name}/values")
async def label_values(
    service: ServiceOf,
    seen: SeenOf,
    name: Annotated[str, Path(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=200)],
    asked: Annotated[Discovery, Query()],
) -> Listed:
    """List the values of a label; those of ``__name__`` are the metrics."""
    if name == "__name__" and not asked.match:
        known = await prometheus.described(service.warehouse, seen)
        values = [metric.name for metric in known]
    else:
        values = await prometheus.discover(
            service.warehouse, "values", asked.match, asked.times, seen, asked.limit, name
        )
    return Listed(data=values[: asked.limit or None])


@router.get("/metadata")
async def metadata(
    service: ServiceOf,
    seen: SeenOf,
    metric: Annotated[str, Query(max_length=500, description="One metric; empty: all.")] = "",
    limit: Annotated[int, Query(ge=0, description="Most metrics; 0: all.")] = 0,
) -> Metadata:
    """Tell what metrics mean, and in which unit they are."""
    known = await prometheus.described(service.warehouse, seen)
    chosen = [one for one in known if metric in ("", one.name)][: limit or None]
    return Metadata(
        data={one.name: [Meaning(type=one.kind, help=one.meaning, unit=one.unit)] for one in chosen}
    )


@router.get("/status/buildinfo")
async def buildinfo(_whose: Viewer) -> Build:
    """Tell whose API it is, and which version of Prometheus it answers like."""
    return Build(
        data={
            "application": "Millrace",
            "version": SPEAKS,
            "revision": version("millrace"),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        }
    )
