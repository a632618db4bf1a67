"""Exports: what is written to object storage, and what became of it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from millrace.access.roles import Principal
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin, Operator
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import (
    Change,
    Named,
    Sent,
    Text,
    missing,
    refuse,
    refusing,
)
from millrace.api.query.service import Connection, ServiceOf
from millrace.exports import catalogue, definitions, schemas
from millrace.exports.definitions import Definition, ExportError

router = APIRouter(prefix="/v1/exports", tags=["exports"])

_LAST = 2**63 - 1

Identifier = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Format = Literal["Parquet", "CSV", "JSONEachRow"]
PersonalData = Literal["plain", "hashed", "excluded"]
Schedule = Literal["hourly", "daily", "on_demand"]


class Column(BaseModel):
    """A column of an export."""

    name: Identifier
    expression: Annotated[
        str, Field(max_length=4000, description="SQL over `source`; empty: the column itself.")
    ] = ""
    is_personal: bool = False
    is_binary: bool = False


class ExportBody(Sent):
    """What is exported, when and how (docs/exports.md)."""

    description: Text
    relation: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$")]
    columns: Annotated[list[Column], Field(min_length=1, max_length=500)]
    time_column: Identifier
    arrival_column: Annotated[str, Field(pattern="^([A-Za-z_][A-Za-z0-9_]{0,62})?$")] = ""
    order_by: Annotated[list[Identifier], Field(min_length=1, max_length=50)]
    schedule: Schedule
    gate: Annotated[
        str, Field(max_length=63, description="The dataset whose audit it waits for; empty: none.")
    ] = ""
    format: Format = "Parquet"
    destination: Annotated[
        str, Field(pattern="^[a-z0-9_]+(/[a-z0-9_]+)*$", max_length=200, examples=["exports/shop"])
    ]
    personal_data: PersonalData = "hashed"
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 90


class NewExport(ExportBody):
    """An export to be made from now on."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$")]


class Export(BaseModel):
    """An export."""

    name: str
    description: str
    relation: str
    columns: list[Column]
    time_column: str
    arrival_column: str
    order_by: list[str]
    schedule: Schedule
    gate: str
    format: Format
    destination: str
    personal_data: PersonalData
    retention_days: int
    is_active: bool
    is_built_in: bool


class StandingExport(Export):
    """An export, and how far it came."""

    last_window: Annotated[str, Field(description="Start of its newest window (UTC), or empty.")]
    row_count: int
    not_out: Annotated[str, Field(description="Which windows are not out, and why.")]


class ExportChange(Change):
    """Whether an export is made."""

    is_active: bool | None = None


class Run(BaseModel):
    """An attempt to export a window."""

    run_id: int
    window_start: datetime
    window_end: datetime
    state: Literal["running", "published", "superseded", "skipped", "failed"]
    reason: str
    requested_by: str
    schema_version: int | None
    row_count: int | None
    byte_count: int | None
    started_at: datetime
    ended_at: datetime | None


@router.get("", responses=declared(401, 403, 422))
def list_exports(_who: Operator, service: ServiceOf, asked: PageOf) -> Page[StandingExport]:
    """List the exports with their newest windows; those that are off, too."""
    with service.connection() as connection:
        found = {row["name"]: row for row in definitions.overview(connection)}
        every = [one for one in definitions.every(connection) if one.name in found]
    items, cursor = asked.sort(every, lambda one: one.name)
    told = ("last_window", "row_count", "not_out")
    return Page(
        items=[
            StandingExport(**_values(one), **{key: found[one.name][key] for key in told})
            for one in items
        ],
        next=cursor,
    )


@router.post(
    "", status_code=201, response_model=Export, responses=declared(401, 403, 409, 422, 503)
)
def add_export(new: NewExport, who: Admin, service: ServiceOf, once: DoneOnce) -> Response:
    """Add an export, made from its next window on; ClickHouse must know what it asks for."""

    def work(connection: Connection) -> Response:
        _find.claim(connection, new.name, "an export")
        _put(connection, service, new.name, new)
        return answer(_find(connection, new.name, who), 201, f"{router.prefix}/{new.name}")

    return once.run(who, work)


@router.get("/{name}", responses=declared(401, 403, 404, 422))
def show_export(name: Named, who: Operator, service: ServiceOf, response: Response) -> Export:
    """Show an export."""
    with service.connection() as connection:
        return tagged(response, _find(connection, name, who))


@router.put("/{name}", responses=declared(401, 403, 404, 409, 412, 422, 428, 503))
def replace_export(name: Named, body: ExportBody, who: Admin, edit: Edit) -> Export:
    """Replace an export; a change of its columns is announced beside its files."""
    with edit.of(_find, name, who) as it:
        if it.found.is_built_in:
            detail = f"{name} is built in and would come back as it was; make one of your own"
            refuse("built_in", detail, status=409)
        _put(it.connection, edit.service, name, body)
        return it.show()


@router.patch("/{name}", responses=declared(401, 403, 404, 412, 422, 428))
def switch_export(name: Named, change: ExportChange, who: Admin, edit: Edit) -> Export:
    """Switch an export on or off; windows that are out stay until they expire."""
    with edit.of(_find, name, who) as it:
        if change.is_active is not None:
            definitions.switch(it.connection, name, on=change.is_active)
        return it.show()


@router.delete("/{name}", status_code=204, responses=declared(401, 403, 404, 409, 412, 422, 428))
def remove_export(name: Named, who: Admin, edit: Edit) -> None:
    """Remove an export none of whose windows is out; the record of its runs stays.

    One that is built in would come back, and is switched off instead. So is one whose files are
    still to expire: without it nobody would know when.
    """
    with edit.of(_find, name, who) as it:
        if it.found.is_built_in:
            detail = f"{name} is built in and would come back; switch it off instead"
            refuse("built_in", detail, status=409)
        if out := definitions.windows_out(it.connection, name):
            detail = (
                f"{out} windows of {name} are out: switch it off, and remove it when the last has "
                f"expired, in {it.found.retention_days} days at the latest"
            )
            refuse("still_needed", detail, status=409)
        definitions.remove(it.connection, name)


@router.get("/{name}/runs", responses=declared(401, 403, 404, 422))
def list_runs(name: Named, who: Operator, service: ServiceOf, asked: PageOf) -> Page[Run]:
    """List the attempts to make an export's windows, the newest first."""
    after = asked.number
    before = _LAST if after is None else after
    with service.connection() as connection:
        _find(connection, name, who)
        rows = catalogue.runs(connection, name, before, asked.limit + 1)
    items, cursor = asked.cut(rows, lambda row: str(row["run_id"]))
    return Page(items=[Run(**row) for row in items], next=cursor)


def _put(connection: Connection, service: ServiceOf, name: str, body: ExportBody) -> None:
    with refusing(ExportError, code="invalid_export", body=body):
        definition = definitions.parse(body.model_dump() | {"name": name})
        schemas.check(service.settings, definition)
        definitions.put(connection, definition)


@kept_in("export_definitions")
def _find(connection: Connection, name: str, _who: Principal) -> Export:
    for definition in definitions.every(connection):
        if definition.name == name:
            return Export(**_values(definition))
    raise missing("export", name)


def _values(definition: Definition) -> dict[str, Any]:
    columns = [Column(**vars(column)) for column in definition.columns]
    is_built_in = definition.name in _built_in()
    return vars(definition) | {"columns": columns, "is_built_in": is_built_in}


@lru_cache(maxsize=1)
def _built_in() -> frozenset[str]:
    return frozenset(definition.name for definition in definitions.seeded())
