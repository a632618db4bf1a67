"""Saved objects: dashboards, views and questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, StringConstraints

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Analyst, Viewer
from millrace.api.query.pages import Asked, Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import Change, Document, Sent, missing, refusing
from millrace.api.query.service import Connection, ServiceOf
from millrace.saved import objects
from millrace.saved.objects import Kind, NotYoursError, SavedError, Sharing

router = APIRouter(prefix="/v1/saved", tags=["saved objects"])

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class SavedObject(BaseModel):
    """Something that was saved, without what is in it."""

    object_id: UUID
    kind: Kind
    name: str
    description: str
    owner: str
    sharing: Sharing
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str
    may_change: bool


class WholeObject(SavedObject):
    """Something that was saved."""

    content: dict[str, Any]


class NewObject(Sent):
    """Something to be saved; what its content means is the dashboard's affair."""

    kind: Kind
    name: Title
    description: Description = ""
    sharing: Sharing = "private"
    content: Document


class ObjectChange(Change):
    """What is to be changed; ``content`` is replaced as a whole."""

    name: Title | None = None
    description: Description | None = None
    sharing: Sharing | None = None
    content: Document | None = None


@router.get("", responses=declared(401, 403, 422))
def list_objects(
    who: Viewer,
    service: ServiceOf,
    asked: PageOf,
    kind: Kind | None = None,
    owner: Annotated[str | None, Query(max_length=300)] = None,
) -> Page[SavedObject]:
    """List the saved objects that you own, and those that are shared."""
    after = _place(asked)
    with service.connection() as connection:
        rows = objects.visible(
            connection, who, kind=kind, owner=owner, after=after, limit=asked.limit + 1
        )
    items, cursor = asked.cut(rows, lambda row: f"{row['name']} {row['object_id']}")
    return Page(
        items=[SavedObject(**row, may_change=objects.may_change(row, who)) for row in items],
        next=cursor,
    )


def _place(asked: Asked) -> tuple[str, UUID] | None:
    if asked.after is None:
        return None
    name, _, object_id = asked.after.rpartition(" ")
    try:
        return name, UUID(object_id)
    except ValueError:
        raise asked.malformed() from None


@router.post(
    "", status_code=201, response_model=WholeObject, responses=declared(401, 403, 409, 422)
)
def save_object(new: NewObject, who: Analyst, once: DoneOnce) -> Response:
    """Save an object; it is yours."""

    def work(connection: Connection) -> Response:
        with refusing(SavedError, code="invalid_object", body=new):
            object_id = objects.add(connection, objects.NewObject(**new.model_dump()), who)
        made = _find(connection, object_id, who)
        return answer(made, 201, f"{router.prefix}/{object_id}")

    return once.run(who, work)


@router.get("/{object_id}", responses=declared(401, 403, 404, 422))
def show_object(
    object_id: UUID, who: Viewer, service: ServiceOf, response: Response
) -> WholeObject:
    """Show a saved object, with what is in it."""
    with service.connection() as connection:
        return tagged(response, _find(connection, object_id, who))


@router.patch("/{object_id}", responses=declared(401, 403, 404, 412, 422, 428))
def change_object(object_id: UUID, change: ObjectChange, who: Analyst, edit: Edit) -> WholeObject:
    """Change a saved object, or how it is shared."""
    with edit.of(_find, object_id, who) as it:
        with _theirs(), refusing(SavedError, code="invalid_object", body=change):
            objects.change(it.connection, dict(it.found), change.wanted(), who)
        return it.show()


@router.delete("/{object_id}", status_code=204, responses=declared(401, 403, 404, 412, 422, 428))
def delete_object(object_id: UUID, who: Analyst, edit: Edit) -> None:
    """Delete a saved object; the audit log keeps it."""
    with edit.of(_find, object_id, who) as it, _theirs():
        objects.remove(it.connection, dict(it.found), who)


@kept_in("saved_objects", "object_id")
def _find(connection: Connection, object_id: UUID, who: Principal) -> WholeObject:
    row = objects.find(connection, object_id, who)
    if row is None:
        raise missing("saved object", str(object_id))
    return WholeObject(**row, may_change=objects.may_change(row, who))


@contextmanager
def _theirs() -> Iterator[None]:
    try:
        yield
    except NotYoursError as error:
        raise ProblemError(403, "not_yours", str(error)) from None
