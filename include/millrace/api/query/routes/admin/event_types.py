"""Event types: what may come, and what it means."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from fastapi import APIRouter, Response
from pydantic import BaseModel

from millrace.access.roles import Principal
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin, Viewer
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import (
    Change,
    Named,
    Sent,
    Text,
    missing,
    refusing,
)
from millrace.api.query.service import Connection, ServiceOf
from millrace.contract.errors import RuleError
from millrace.rules import event_types, gate

router = APIRouter(prefix="/v1/event-types", tags=["event types"])


class EventType(BaseModel):
    """A type that events may have."""

    event_type: str
    description: str
    owner: str
    is_active: bool
    created_at: datetime


class NewEventType(Sent):
    """A type to be registered."""

    event_type: str
    description: Text
    owner: Text = "data-engineering"


class EventTypeChange(Change):
    """What is to be changed; events of a type that is not active are rejected."""

    description: Text | None = None
    owner: Text | None = None
    is_active: bool | None = None


@router.get("", responses=declared(401, 403, 422))
def list_event_types(_who: Viewer, service: ServiceOf, asked: PageOf) -> Page[EventType]:
    """List the event types, those that are retired too."""
    with service.connection() as connection:
        rows = event_types.every(connection)
    items, cursor = asked.sort(rows, lambda row: row["event_type"])
    return Page(items=[EventType(**row) for row in items], next=cursor)


@router.post(
    "",
    status_code=201,
    response_model=EventType,
    responses=declared(401, 403, 409, 422, 503),
)
def add_event_type(new: NewEventType, who: Admin, service: ServiceOf, once: DoneOnce) -> Response:
    """Register an event type: its events pass from the next micro-batch on."""

    def work(connection: Connection) -> Response:
        _find.claim(connection, new.event_type, "an event type")
        with refusing(RuleError, code="invalid_event_type", pointer="/body/event_type"):
            event_types.add(connection, new.event_type, new.description, new.owner)
            gate.compile_all(connection, service.settings)
        made = _find(connection, new.event_type, who)
        return answer(made, 201, f"{router.prefix}/{quote(made.event_type, safe='')}")

    return once.run(who, work)


@router.get("/{event_type:path}", responses=declared(401, 403, 404, 422))
def show_event_type(
    event_type: Named, who: Viewer, service: ServiceOf, response: Response
) -> EventType:
    """Show an event type."""
    with service.connection() as connection:
        return tagged(response, _find(connection, event_type, who))


@router.patch("/{event_type:path}", responses=declared(401, 403, 404, 412, 422, 428, 503))
def change_event_type(
    event_type: Named, change: EventTypeChange, who: Admin, edit: Edit
) -> EventType:
    """Change an event type: describe it, retire it, or let its events pass again."""
    with edit.of(_find, event_type, who) as it:
        event_types.change(it.connection, event_type, change.wanted())
        with refusing(RuleError, code="invalid_event_type"):
            gate.compile_all(it.connection, edit.service.settings)
        return it.show()


@kept_in("event_types", "event_type")
def _find(connection: Connection, name: str, _who: Principal) -> EventType:
    for row in event_types.every(connection):
        if row["event_type"] == name:
            return EventType(**row)
    raise missing("event type", name)
