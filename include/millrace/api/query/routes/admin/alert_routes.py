"""Alert routes: the channels that alerts go to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from millrace.access.roles import Principal
from millrace.alerts import repository, routing
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin, Operator
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import Change, Named, missing, refusing
from millrace.api.query.service import Connection, ServiceOf
from millrace.contract.errors import RuleError

router = APIRouter(prefix="/v1/alert-routes", tags=["alerts"])

Kind = Literal["slack", "pagerduty", "webhook", "email"]
Short = Annotated[str, Field(min_length=1, max_length=200)]


class Route(BaseModel):
    """A channel; address and secret are in an Airflow connection."""

    name: str
    kind: Kind
    connection_id: str
    config: dict[str, str]
    group_by: list[str]
    group_wait_seconds: int
    group_interval_seconds: int
    repeat_interval_seconds: int
    is_active: bool


class RouteChange(Change):
    """What is to be changed of a channel."""

    kind: Kind | None = None
    connection_id: Short | None = None
    config: Annotated[
        dict[Literal["channel", "to", "path"], Short] | None,
        Field(description="Slack's channel, an e-mail's address, the path that is posted to."),
    ] = None
    group_by: Annotated[list[Short] | None, Field(max_length=20)] = None
    repeat_interval_seconds: Annotated[int | None, Field(ge=1, le=31_536_000)] = None
    is_active: bool | None = None


class NewRoute(RouteChange):
    """A channel to be made."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$")]
    kind: Kind


@router.get("", responses=declared(401, 403, 422))
def list_routes(_who: Operator, service: ServiceOf, asked: PageOf) -> Page[Route]:
    """List the channels; those that are off, too."""
    with service.connection() as connection:
        routes = repository.load_routes(connection)
    items, cursor = asked.sort(routes, lambda route: route.name)
    return Page(items=[Route(**asdict(route)) for route in items], next=cursor)


@router.post("", status_code=201, response_model=Route, responses=declared(401, 403, 409, 422))
def add_route(new: NewRoute, who: Admin, once: DoneOnce) -> Response:
    """Make a channel."""

    def work(connection: Connection) -> Response:
        _find.claim(connection, new.name, "a route")
        wanted = new.wanted()
        _change(connection, wanted.pop("name"), new, wanted)
        return answer(_find(connection, new.name, who), 201, f"{router.prefix}/{new.name}")

    return once.run(who, work)


@router.get("/{name}", responses=declared(401, 403, 404, 422))
def show_route(name: Named, who: Operator, service: ServiceOf, response: Response) -> Route:
    """Show a channel."""
    with service.connection() as connection:
        return tagged(response, _find(connection, name, who))


@router.patch("/{name}", responses=declared(401, 403, 404, 412, 422, 428))
def change_route(name: Named, change: RouteChange, who: Admin, edit: Edit) -> Route:
    """Change a channel: send alerts elsewhere, or switch it on or off."""
    with edit.of(_find, name, who) as it:
        _change(it.connection, name, change, change.wanted())
        return it.show()


def _change(connection: Connection, name: str, body: RouteChange, wanted: dict[str, Any]) -> None:
    with refusing(RuleError, code="invalid_route", body=body):
        routing.change(connection, name, routing.Change(**wanted))


@kept_in("alert_routes")
def _find(connection: Connection, name: str, _who: Principal) -> Route:
    for route in repository.load_routes(connection):
        if route.name == name:
            return Route(**asdict(route))
    raise missing("alert route", name)
