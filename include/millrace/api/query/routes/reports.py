"""Reports: what is sent to whom and when, and the pages that were made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.concurrency import Edit, IfMatchIfThere, demand, kept_in, lock, tagged
from millrace.api.query.identity import Analyst
from millrace.api.query.problems import declared
from millrace.api.query.service import Connection, ServiceOf
from millrace.reports import service as making
from millrace.reports import store
from millrace.reports.model import MOST_PANELS, NAME, ReportError

router = APIRouter(prefix="/v1/reports", tags=["reports"])

Name = Annotated[str, Path(pattern=f"^{NAME.pattern}$", description="The report's name.")]

PAGE_HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "cache-control": "private, max-age=3600",
}
"""A page holds no script, and may run none."""


class PanelModel(BaseModel):
    """A question of a report."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(min_length=1, max_length=200)
    question: dict[str, str] | None = Field(
        None, description="Parameters of GET /v1/metrics: name, range, interval, group_by, …"
    )
    saved: str | None = Field(
        None,
        max_length=36,
        description="Instead: the id of a saved object with a question, or panels of them.",
    )


class ScheduleModel(BaseModel):
    """When a report is made."""

    model_config = ConfigDict(extra="forbid")

    every: Literal["day", "week", "month"]
    at: str = Field("07:00", description="Time of day in the zone; made within 15 minutes.")
    zone: str = Field("UTC", description="Time zone of IANA's.")
    day: int = Field(1, description="Of the week (1: Monday), or of the month.")


class RecipientModel(BaseModel):
    """Who gets a report."""

    model_config = ConfigDict(extra="forbid")

    route: str = Field(description="A route of alerts, of Slack, e-mail or a webhook.")
    config: dict[str, str] = Field({}, description="In place of the route's: to, channel, path.")


class ReportRequest(BaseModel):
    """A report."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(min_length=1, max_length=200)
    description: str = Field("", max_length=2000)
    panels: list[PanelModel] = Field(min_length=1, max_length=MOST_PANELS)
    schedule: ScheduleModel | None = Field(None, description="None: when somebody asks for it.")
    recipients: list[RecipientModel] = Field([], max_length=50)
    is_active: bool = True


class ReportModel(ReportRequest):
    """A report, and whose it is."""

    model_config = ConfigDict(extra="ignore")

    name: str
    owner: str


class RunModel(BaseModel):
    """A time that a report was made."""

    run_id: int
    due: str = Field(description="The moment of the schedule, or the run that asked for it.")
    requested_by: str
    begun_at: datetime
    made_at: datetime | None
    sent_at: datetime | None = Field(description="When all had it.")
    last_error: str
    receipts: dict[str, Any] = Field(description="Who has it, by route.")


@router.get("", responses=declared(401, 403, 503))
async def list_reports(service: ServiceOf, whose: Analyst) -> list[ReportModel]:
    """List the reports. `POST /v1/jobs` with the kind `generate-report` makes one now."""
    _demand_all(whose)
    return [ReportModel.model_validate(row) for row in await service.with_postgres(store.rows)]


@router.get("/{name}", responses=declared(401, 403, 404, 422, 503))
def show_report(name: Name, service: ServiceOf, whose: Analyst, response: Response) -> ReportModel:
    """Show a report."""
    _demand_all(whose)
    with service.connection() as connection:
        return tagged(response, _found(connection, name))


@router.put("/{name}", responses=declared(401, 403, 412, 422, 428, 503))
def save_report(
    name: Name,
    request: ReportRequest,
    service: ServiceOf,
    whose: Analyst,
    expected: IfMatchIfThere,
    response: Response,
) -> ReportModel:
    """Make a report, or change one of one's own in the state of If-Match; admins change any."""
    _demand_all(whose)
    with _refusing(), service.change(whose) as connection:
        lock(connection, "reports", "name", name)
        old = _find(connection, name)
        if old is not None:
            _demand_own(old, whose)
            demand(expected).check(old)
        elif expected is not None:
            raise ProblemError(
                412, "changed_meanwhile", f"There is no report {name}: without If-Match it is made."
            )
        owner = old.owner if old else whose.name
        store.save(connection, {**request.model_dump(), "name": name, "owner": owner}, whose.name)
        return tagged(response, _found(connection, name))


@router.delete("/{name}", status_code=204, responses=declared(401, 403, 404, 412, 422, 428, 503))
def delete_report(name: Name, whose: Analyst, edit: Edit) -> None:
    """Delete a report of one's own, with the record of its runs; admins delete any."""
    _demand_all(whose)
    with edit.of(_own, name, whose) as it:
        store.remove(it.connection, name, whose.name)


@router.get("/{name}/runs", responses=declared(401, 403, 404, 422, 503))
async def list_runs(name: Name, service: ServiceOf, whose: Analyst) -> list[RunModel]:
    """List the last times that a report was made, the newest first."""
    _demand_all(whose)
    return [
        RunModel.model_validate(row)
        for row in await service.with_postgres(partial(_runs, name=name))
    ]


@router.get(
    "/{name}/runs/{run_id}/page",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {}}, "description": "The page, which needs nothing else."},
        **declared(401, 403, 404, 422, 503),
    },
)
async def read_page(name: Name, run_id: int, service: ServiceOf, whose: Analyst) -> Response:
    """Return the page that was made."""
    _demand_all(whose)
    runs = await service.with_postgres(partial(_runs, name=name))
    keys = [run["object_key"] for run in runs if run["run_id"] == run_id and run["object_key"]]
    if not keys:
        raise ProblemError(404, "unknown_report", f"Report {name} has no page of run {run_id}.")
    page = await run_in_threadpool(making.read_page, service.settings, keys[0])
    return Response(page, media_type="text/html", headers=PAGE_HEADERS)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ReportError as error:
        raise ProblemError(422, "invalid_request", str(error)) from error


def _runs(connection: Connection, name: str) -> list[dict[str, Any]]:
    if name not in {report.name for report in store.every(connection)}:
        raise _unknown(name)
    return store.runs(connection, name)


def _find(connection: Connection, name: str) -> ReportModel | None:
    found = {row["name"]: row for row in store.rows(connection)}.get(name)
    return None if found is None else ReportModel.model_validate(found)


def _found(connection: Connection, name: str) -> ReportModel:
    found = _find(connection, name)
    if found is None:
        raise _unknown(name)
    return found


@kept_in("reports")
def _own(connection: Connection, name: str, whose: Principal) -> ReportModel:
    found = _found(connection, name)
    _demand_own(found, whose)
    return found


def _demand_own(report: ReportModel, whose: Principal) -> None:
    """Raise ``ProblemError`` (403) where a report is not one's own to change."""
    if report.owner != whose.name and not whose.has("admin"):
        raise ProblemError(
            403,
            "not_allowed",
            f"Report {report.name} is of {report.owner}; they or an admin may change it.",
        )


def _demand_all(whose: Principal) -> None:
    if whose.sources is not None or whose.datasets is not None:
        raise ProblemError(
            403, "not_allowed", "Reports are about all sources, and you may see some only."
        )


def _unknown(name: str) -> ProblemError:
    return ProblemError(404, "unknown_report", f"There is no report {name!r}.")
