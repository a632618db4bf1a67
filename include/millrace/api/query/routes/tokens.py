"""The tokens that programs ask with, for admins."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import AwareDatetime, BaseModel, Field

from millrace.access import tokens
from millrace.access.keys import AccessError
from millrace.access.rights import Rights
from millrace.access.roles import Role
from millrace.api.http import ProblemError
from millrace.api.query.concurrency import answer
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin, check_rights, refusal
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import Sent
from millrace.api.query.service import Connection, ServiceOf

router = APIRouter(prefix="/v1/tokens", tags=["people"])


class TokenState(BaseModel):
    """A token, without its secret."""

    name: str
    token_id: str = Field(description="The public part of its text, which finds it in logs.")
    state: str = Field(description="active, expired or revoked.")
    role: Role
    sources: list[str] | None = Field(description="Sources that it may see; null: all.")
    datasets: list[str] | None = Field(description="Datasets that it may see; null: all.")
    used_at: datetime | None
    expires_at: datetime | None
    created_at: datetime


class NewToken(Sent):
    """What a token is made of."""

    name: str = Field(max_length=63)
    role: Role
    sources: list[str] | None = Field(None, max_length=255)
    datasets: list[str] | None = Field(None, max_length=255)
    expires_at: AwareDatetime | None = None


class TokenText(BaseModel):
    """The text of a token, which is shown only now."""

    name: str
    token: str


@router.get("", responses=declared(401, 403, 422))
def list_tokens(_who: Admin, service: ServiceOf, asked: PageOf) -> Page[TokenState]:
    """List every token, also those that were revoked."""
    with service.connection() as connection:
        rows = tokens.overview(connection)
    items, cursor = asked.sort(rows, lambda row: f"{row['name']} {row['token_id']}")
    return Page(items=[TokenState(**row) for row in items], next=cursor)


@router.post("", status_code=201, response_model=TokenText, responses=declared(401, 403, 409, 422))
def add_token(body: NewToken, who: Admin, service: ServiceOf, once: DoneOnce) -> Response:
    """Make a token and show it, only now; it works within 5 s."""
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise ProblemError(422, "invalid_request", f"expires_at: {body.expires_at} is over.")

    check_rights(Rights(body.role, body.sources, body.datasets), who)

    def work(connection: Connection) -> Response:
        try:
            text = tokens.add(connection, tokens.NewToken(**dict(body)), who.name)
        except AccessError as error:
            raise refusal(error) from None
        return answer(TokenText(name=body.name, token=text), 201, f"{router.prefix}/{body.name}")

    return once.run(who, work)


@router.delete("/{name}", status_code=204, responses=declared(401, 403, 404, 422))
def revoke_token(name: Annotated[str, Path(max_length=63)], who: Admin, service: ServiceOf) -> None:
    """Revoke a token: it lets nobody in any more, within 5 s."""
    with service.connection() as connection:
        try:
            tokens.revoke(connection, name, who.name)
        except AccessError as error:
            raise ProblemError(404, "not_found", f"{error}.") from None
