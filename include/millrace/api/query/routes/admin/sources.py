"""Sources of events: topics that are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

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
    may_see,
    missing,
    refusing,
)
from millrace.api.query.service import Connection, ServiceOf
from millrace.contract.errors import RuleError
from millrace.usecases import sources
from millrace.usecases.sources import SourceError

router = APIRouter(prefix="/v1/sources", tags=["sources"])


class Source(BaseModel):
    """A source of events."""

    source_id: str
    topic: str
    dead_letter_topic: str
    target_table: str
    description: str
    owner: str
    is_active: bool
    fields: dict[str, str] = Field(
        description="The names that this source has for the contract's fields, by these."
    )
    created_at: datetime


class NewSource(Sent):
    """A source to be made."""

    source_id: Annotated[str, Field(examples=["shop"])]
    topic: Annotated[str, Field(description="It is made where there is none.")]
    description: Text
    owner: Text = "data-engineering"
    partitions: Annotated[
        int | None,
        Field(ge=1, le=1000, description="Of a topic to be made; MILLRACE_TOPIC_PARTITIONS."),
    ] = None


class SourceChange(Change):
    """What is to be changed; events of a source that is not active wait in Kafka."""

    description: Text | None = None
    owner: Text | None = None
    is_active: bool | None = None


@router.get("", responses=declared(401, 403, 422))
def list_sources(who: Viewer, service: ServiceOf, asked: PageOf) -> Page[Source]:
    """List the sources that you may see."""
    with service.connection() as connection:
        rows = [row for row in sources.every(connection) if may_see(who, row["source_id"])]
    items, cursor = asked.sort(rows, lambda row: row["source_id"])
    return Page(items=[_source(row) for row in items], next=cursor)


@router.post(
    "", status_code=201, response_model=Source, responses=declared(401, 403, 409, 422, 503)
)
def add_source(new: NewSource, who: Admin, service: ServiceOf, once: DoneOnce) -> Response:
    """Add a source: its topic is loaded from the next run of ingest on, through its gate."""

    def work(connection: Connection) -> Response:
        find.claim(connection, new.source_id, "a source")
        with refusing(SourceError, RuleError, code="invalid_source", body=new):
            sources.add(connection, service.settings, sources.NewSource(**new.model_dump()))
        made = find(connection, new.source_id, who)
        return answer(made, 201, f"{router.prefix}/{made.source_id}")

    return once.run(who, work)


@router.get("/{source_id}", responses=declared(401, 403, 404, 422))
def show_source(source_id: Named, who: Viewer, service: ServiceOf, response: Response) -> Source:
    """Show a source."""
    with service.connection() as connection:
        return tagged(response, find(connection, source_id, who))


@router.patch("/{source_id}", responses=declared(401, 403, 404, 412, 422, 428, 503))
def change_source(source_id: Named, change: SourceChange, who: Admin, edit: Edit) -> Source:
    """Change a source: what is said of it, and whether its events are loaded."""
    with edit.of(find, source_id, who) as it:
        with refusing(SourceError, RuleError, code="invalid_source", body=change):
            sources.change(it.connection, edit.service.settings, source_id, change.wanted())
        return it.show()


@kept_in("data_sources", "source_id")
def find(connection: Connection, source_id: str, who: Principal) -> Source:
    """Return a source that somebody may see. Raises ``ProblemError`` (404)."""
    for row in sources.every(connection):
        if row["source_id"] == source_id and may_see(who, source_id):
            return _source(row)
    raise missing("source", source_id)


def _source(row: Mapping[str, Any]) -> Source:
    return Source(**row, fields=row["config"].get("fields", {}))
