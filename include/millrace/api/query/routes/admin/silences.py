"""Silences, which have an end, and maintenance windows, which come again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from millrace.access.roles import Principal
from millrace.alerts import overview, silences
from millrace.alerts.silences import Mute
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Operator
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import Moment, Sent, Text, missing, refuse, refusing
from millrace.api.query.service import Connection, ServiceOf

router = APIRouter(prefix="/v1/silences", tags=["alerts"])
windows = APIRouter(prefix="/v1/maintenance-windows", tags=["alerts"])

LONGEST = timedelta(days=366)

Matchers = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]],
    Field(min_length=1, max_length=50, examples=[['alertname="traffic_drop"']]),
]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
WindowName = Annotated[str, Path(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Every = Literal["once", "day", "week"]


class Silence(BaseModel):
    """What nobody is told of for a while."""

    silence_id: int
    matchers: list[str]
    starts_at: datetime
    ends_at: datetime
    author: str
    comment: str


class NewSilence(Sent):
    """Alerts that fit every matcher are silenced."""

    matchers: Matchers
    starts_at: Annotated[Moment | None, Field(description="null: now")] = None
    ends_at: Moment
    comment: Text
    anyway: Annotated[bool, Field(description="Also where no alert could fit by now.")] = False


class WindowBody(Sent):
    """When alerts that fit every matcher are not told of, again and again."""

    matchers: Matchers
    starts_at: Annotated[Moment, Field(description="The first time.")]
    minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60, description="How long each time.")]
    every: Every = "once"
    comment: Annotated[str, Field(max_length=2000)] = ""


class NewWindow(WindowBody):
    """A maintenance window to be planned."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,62}$")]


class Window(BaseModel):
    """A maintenance window."""

    name: str
    matchers: list[str]
    starts_at: datetime
    minutes: float
    every: Every
    author: str
    comment: str


@router.get("", responses=declared(401, 403, 422))
def list_silences(_who: Operator, service: ServiceOf, asked: PageOf) -> Page[Silence]:
    """List the silences that have not ended."""
    with service.connection() as connection:
        rows, _ = silences.present(connection)
    items, cursor = asked.sort(rows, lambda row: f"{row['silence_id']:020}")
    return Page(items=[Silence(**row) for row in items], next=cursor)


@router.post(
    "", status_code=201, response_model=Silence, responses=declared(401, 403, 409, 422, 503)
)
def add_silence(new: NewSilence, who: Operator, service: ServiceOf, once: DoneOnce) -> Response:
    """Silence alerts; one that no alert could fit is refused, unless ``anyway``."""
    starts_at = new.starts_at or datetime.now(UTC)
    if new.ends_at <= starts_at:
        refuse("invalid_silence", "ends_at is before it begins", "/body/ends_at")
    if new.ends_at - starts_at > LONGEST:
        refuse("invalid_silence", f"it lasts for more than {LONGEST.days} days", "/body/ends_at")
    mute = Mute(new.matchers, starts_at, new.ends_at - starts_at, who.name, new.comment)

    def work(connection: Connection) -> Response:
        with _readable():
            if not new.anyway:
                metrics = overview.published_metrics(service.settings)
                silences.check_sense(connection, new.matchers, metrics)
            number = silences.add(connection, mute)
        return answer(_silence(connection, number, who), 201, f"{router.prefix}/{number}")

    return once.run(who, work)


@router.get("/{silence_id}", responses=declared(401, 403, 404, 422))
def show_silence(
    silence_id: Number, who: Operator, service: ServiceOf, response: Response
) -> Silence:
    """Show a silence, also one that has ended."""
    with service.connection() as connection:
        return tagged(response, _silence(connection, silence_id, who))


@router.delete("/{silence_id}", status_code=204, responses=declared(401, 403, 404, 412, 422, 428))
def end_silence(silence_id: Number, who: Operator, edit: Edit) -> None:
    """End a silence now; nothing happens to one that has ended."""
    with edit.of(_silence, silence_id, who) as it:
        silences.end(it.connection, str(silence_id))


@windows.get("", responses=declared(401, 403, 422))
def list_windows(_who: Operator, service: ServiceOf, asked: PageOf) -> Page[Window]:
    """List the maintenance windows."""
    with service.connection() as connection:
        _, rows = silences.present(connection)
    items, cursor = asked.sort(rows, lambda row: row["name"])
    return Page(items=[_as_window(row) for row in items], next=cursor)


@windows.post("", status_code=201, response_model=Window, responses=declared(401, 403, 409, 422))
def plan_window(new: NewWindow, who: Operator, once: DoneOnce) -> Response:
    """Plan a maintenance window."""

    def work(connection: Connection) -> Response:
        _window.claim(connection, new.name, "a window")
        _plan(connection, new.name, new, who.name)
        return answer(_window(connection, new.name, who), 201, f"{windows.prefix}/{new.name}")

    return once.run(who, work)


@windows.get("/{name}", responses=declared(401, 403, 404, 422))
def show_window(name: WindowName, who: Operator, service: ServiceOf, response: Response) -> Window:
    """Show a maintenance window."""
    with service.connection() as connection:
        return tagged(response, _window(connection, name, who))


@windows.put("/{name}", responses=declared(401, 403, 404, 412, 422, 428))
def replace_window(name: WindowName, body: WindowBody, who: Operator, edit: Edit) -> Window:
    """Replace a maintenance window."""
    with edit.of(_window, name, who) as it:
        _plan(it.connection, name, body, who.name)
        return it.show()


@windows.delete("/{name}", status_code=204, responses=declared(401, 403, 404, 412, 422, 428))
def remove_window(name: WindowName, who: Operator, edit: Edit) -> None:
    """Remove a maintenance window."""
    with edit.of(_window, name, who) as it:
        silences.end(it.connection, name)


def _plan(connection: Connection, name: str, body: WindowBody, author: str) -> None:
    lasts = timedelta(minutes=body.minutes)
    mute = Mute(body.matchers, body.starts_at, lasts, author, body.comment)
    with _readable():
        silences.plan_window(connection, name, mute, body.every)


@contextmanager
def _readable() -> Iterator[None]:
    with refusing(ValueError, code="invalid_matchers", pointer="/body/matchers"):
        yield


@kept_in("alert_silences", "silence_id")
def _silence(connection: Connection, silence_id: int, _who: Principal) -> Silence:
    row = silences.find(connection, silence_id)
    if row is None:
        raise missing("silence", str(silence_id))
    return Silence(**row)


@kept_in("alert_maintenance_windows")
def _window(connection: Connection, name: str, _who: Principal) -> Window:
    for row in silences.present(connection)[1]:
        if row["name"] == name:
            return _as_window(row)
    raise missing("maintenance window", name)


def _as_window(row: Mapping[str, Any]) -> Window:
    return Window(**row, minutes=row["duration"].total_seconds() / 60)
