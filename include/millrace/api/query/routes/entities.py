"""A person, a session, an event: what those see who may see events."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from millrace.api.http import JSON, ProblemError
from millrace.api.query.cache.answers import Kept, found_at
from millrace.api.query.identity import Analyst, check_dataset
from millrace.api.query.problems import declared
from millrace.api.query.service import ServiceOf
from millrace.contract import people
from millrace.settings import Settings

router = APIRouter(prefix="/v1", tags=["events"])

DATASET = "events"
"""What of people and sessions is shown here is made of single events."""
REFUSALS = declared(401, 403, 404, 422, 503)


class Event(BaseModel):
    """An event, in short."""

    event_id: UUID
    event_time: datetime
    event_type: str
    page: str
    country: str
    device: str
    source_id: str


class Session(BaseModel):
    """Events of a person without a longer pause."""

    session_id: str
    started_at: datetime
    ended_at: datetime
    duration_seconds: float
    events: int
    page_views: int
    entry_page: str
    exit_page: str
    country: str
    device: str
    is_bounce: bool


class EventsOfDay(BaseModel):
    """How many events of a type happened on a day (UTC)."""

    day: date
    event_type: str
    events: int


class Activity(BaseModel):
    """What a person did, as far back as events are kept."""

    user_id: int
    first_seen_at: datetime
    last_seen_at: datetime
    events: int
    days: list[EventsOfDay]
    recent: list[Event] = Field(description="The last 50 events, latest first.")
    sessions: list[Session] = Field(
        description="The last 20 sessions; none for those who may see single sources only."
    )


class SessionWithEvents(Session):
    """A session, and what happened in it."""

    user_id: int
    timeline: list[Event] = Field(description="Its first 500 events, in order.")


class WholeEvent(Event):
    """An event with all that is known of it."""

    user_id: int
    properties: dict[str, str]
    device_info: dict[str, str]
    geo_location: dict[str, str]
    warnings: list[str] = Field(description="Rules that warn of it: reason|field|rule.")
    received_at: datetime
    ingested_at: datetime
    topic: str
    partition: int
    offset: int


@router.get("/users/{user_id}/activity", responses=REFUSALS, response_model=Activity)
async def activity(
    user_id: Annotated[str, Path(max_length=1024, description="As a source sends it.")],
    principal: Analyst,
    service: ServiceOf,
) -> Response:
    """Tell what a person did: by day, lately, and in sessions."""
    check_dataset(principal, DATASET)
    number = _number(user_id, service.settings)
    return _answer(await service.entities.activity(number, principal), "user", user_id)


@router.get("/sessions/{session_id}", responses=REFUSALS, response_model=SessionWithEvents)
async def session(
    session_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    principal: Analyst,
    service: ServiceOf,
    day: Annotated[
        date | None, Query(description="The day (UTC) on which it began; it is found sooner.")
    ] = None,
) -> Response:
    """Tell of a session, with its events."""
    check_dataset(principal, DATASET)
    if principal.sources is not None:
        raise ProblemError(
            403,
            "not_allowed",
            "Sessions run across sources, and you may see some of them only. "
            "An admin gives rights: ./millrace users list, ./millrace tokens list.",
        )
    found = await service.entities.session(session_id, day, principal)
    return _answer(found, "session", session_id)


@router.get("/events/{event_id}", responses=REFUSALS, response_model=WholeEvent)
async def event(
    event_id: UUID,
    principal: Analyst,
    service: ServiceOf,
    day: Annotated[
        date | None, Query(description="The day (UTC) on which it happened; it is found sooner.")
    ] = None,
) -> Response:
    """Tell everything of an event."""
    check_dataset(principal, DATASET)
    return _answer(await service.entities.event(event_id, day, principal), "event", str(event_id))


def _number(user_id: str, settings: Settings) -> int:
    """Return the number of whom a source calls this."""
    key = settings.ingest_hash_key.get_secret_value().encode()
    if people.canonical(user_id) is None and not key:
        raise ProblemError(
            422,
            "unknown_user_id",
            "This id is no number, and what ids are hashed with is not set here: "
            "MILLRACE_INGEST_HASH_KEY.",
        )
    return people.number_of(user_id, key)


def _answer(kept: Kept, what: str, name: str) -> Response:
    """Return what was found, with where it was found and how old it is."""
    if not kept.value:
        raise ProblemError(
            404, "not_found", f"No {what} is called {name[:100]} in what is kept, or you may see."
        )
    return Response(kept.value, media_type=JSON, headers=found_at(kept))
