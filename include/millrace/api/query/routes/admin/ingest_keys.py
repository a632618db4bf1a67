"""Keys that a source's events are sent with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from millrace.access import keys
from millrace.access.keys import AccessError
from millrace.access.roles import Principal
from millrace.api.query.concurrency import IfMatch, answer, etag, lock, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin import sources
from millrace.api.query.routes.admin.fields import Moment, Named, Sent, missing, refuse, refusing
from millrace.api.query.service import Connection, ServiceOf

router = APIRouter(prefix="/v1/sources/{source_id}/keys", tags=["sources"])


class Secret(BaseModel):
    """One of the secrets of a key: the newest, or one that a rotation left to run out."""

    key_id: str = Field(description="The public part of its text, which finds it in logs.")
    state: Literal["active", "rotated", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None


class Key(BaseModel):
    """A key; its text is shown once, when it is made."""

    name: str
    source_id: str
    scopes: list[str]
    allowed_origins: list[str]
    rate_per_second: int | None
    quota_per_day: int | None
    secrets: list[Secret]


class UsedKey(Key):
    """A key, and what was sent with it."""

    events_today: int
    used_at: datetime | None


class MadeKey(Key):
    """A key with its text, which nobody can tell afterwards."""

    text: str


class NewKey(Sent):
    """A key to be made."""

    name: str
    scopes: Annotated[tuple[Literal["ingest", "read:live"], ...], Field(min_length=1)] = ("ingest",)
    allowed_origins: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    rate_per_second: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    quota_per_day: Annotated[int | None, Field(ge=1, le=2**53)] = None
    expires_at: Moment | None = None


class Rotation(Sent):
    """How a key gets another secret."""

    overlap_hours: Annotated[
        float,
        Field(
            ge=0,
            le=keys.MOST_OVERLAP_HOURS,
            description="How long the old secret goes on.",
        ),
    ] = keys.OVERLAP_HOURS


@router.get("", responses=declared(401, 403, 404, 422))
def list_keys(source_id: Named, who: Admin, service: ServiceOf, asked: PageOf) -> Page[UsedKey]:
    """List a source's keys, with what was sent with each today; those that are revoked too."""
    with service.connection() as connection:
        sources.find(connection, source_id, who)
        rows = _by_name(connection, source_id)
    items, cursor = asked.sort(rows.items(), lambda item: item[0])
    return Page(
        items=[
            UsedKey(
                **_key(mine), events_today=mine[-1]["events_today"], used_at=mine[-1]["used_at"]
            )
            for _, mine in items
        ],
        next=cursor,
    )


@router.post(
    "", status_code=201, response_model=MadeKey, responses=declared(401, 403, 404, 409, 422)
)
def add_key(
    source_id: Named, new: NewKey, who: Admin, service: ServiceOf, once: DoneOnce
) -> Response:
    """Make a key; it works within five seconds. Its text is in this answer, and nowhere else."""
    if new.expires_at is not None and new.expires_at <= datetime.now(UTC):
        refuse("invalid_key", "expires_at is over", "/body/expires_at")

    def work(connection: Connection) -> Response:
        sources.find(connection, source_id, who)
        if any(key.name == new.name and key.revoked_at is None for key in keys.every(connection)):
            refuse("exists", f"there is a key {new.name}; rotate it", "/body/name", status=409)
        with refusing(AccessError, code="invalid_key"):
            text = keys.add(connection, keys.NewKey(source_id=source_id, **new.model_dump()))
        return _made(connection, source_id, new.name, text, who)

    return once.run(who, work)


@router.get("/{name}", responses=declared(401, 403, 404, 422))
def show_key(
    source_id: Named, name: Named, who: Admin, service: ServiceOf, response: Response
) -> Key:
    """Show a key."""
    with service.connection() as connection:
        return tagged(response, _find(connection, source_id, name, who))


@router.post(
    "/{name}/rotate",
    status_code=201,
    response_model=MadeKey,
    responses=declared(401, 403, 404, 409, 422),
)
def rotate_key(
    source_id: Named,
    name: Named,
    rotation: Rotation,
    who: Admin,
    service: ServiceOf,
    once: DoneOnce,
) -> Response:
    """Rotate a key: it gets another secret, and the old one goes on for a while."""

    def work(connection: Connection) -> Response:
        lock(connection, "ingest_keys", "name", name)
        _find(connection, source_id, name, who)
        kept = keys.digest(service.settings.ingest_key.get_secret_value())
        if any(key.name == name and key.digest == kept for key in keys.every(connection)):
            refuse(
                "kept_elsewhere",
                f"secrets.env keeps key {name} for Millrace's own commands: "
                f"./millrace keys rotate {name} changes both.",
                status=409,
            )
        with refusing(AccessError, code="invalid_key"):
            text = keys.rotate(connection, name, rotation.overlap_hours)
        return _made(connection, source_id, name, text, who)

    return once.run(who, work)


@router.delete("/{name}", status_code=204, responses=declared(401, 403, 404, 412, 422, 428))
def revoke_key(
    source_id: Named, name: Named, who: Admin, expected: IfMatch, service: ServiceOf
) -> None:
    """Revoke a key: it lets nothing in any more, within five seconds and everywhere."""
    with service.change(who) as connection:
        lock(connection, "ingest_keys", "name", name)
        expected.check(_find(connection, source_id, name, who))
        with refusing(AccessError, code="invalid_key"):
            keys.revoke(connection, name)


def _made(connection: Connection, source_id: str, name: str, text: str, who: Principal) -> Response:
    shown = _find(connection, source_id, name, who)
    made = answer(
        MadeKey(**shown.model_dump(), text=text), 201, f"/v1/sources/{source_id}/keys/{name}"
    )
    made.headers["etag"] = etag(shown)
    made.headers["cache-control"] = "no-store"
    return made


def _find(connection: Connection, source_id: str, name: str, who: Principal) -> Key:
    sources.find(connection, source_id, who)
    mine = _by_name(connection, source_id).get(name)
    if mine is None:
        raise missing("key", name)
    return Key(**_key(mine))


def _by_name(connection: Connection, source_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the keys of a source by their names, those of a name from the oldest on."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in keys.overview(connection):
        if row["source_id"] == source_id:
            found.setdefault(row["name"], []).append(row)
    return found


def _key(rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    newest = rows[-1]
    return {
        "name": newest["name"],
        "source_id": newest["source_id"],
        "scopes": newest["scopes"],
        "allowed_origins": newest["allowed_origins"],
        "rate_per_second": newest["rate_per_second"],
        "quota_per_day": newest["quota_per_day"],
        "secrets": [Secret(**row) for row in rows],
    }
