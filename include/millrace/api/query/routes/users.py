"""People: for admins, and for everybody their own password."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field, SecretStr

from millrace.access import passwords, users
from millrace.access.keys import AccessError
from millrace.access.rights import Rights
from millrace.access.roles import Principal, Role
from millrace.api.http import ProblemError
from millrace.api.query.concurrency import Edit, answer, kept_in, tagged
from millrace.api.query.idempotency import DoneOnce
from millrace.api.query.identity import Admin, Viewer, check_rights, refusal
from millrace.api.query.pages import Page, PageOf
from millrace.api.query.problems import declared
from millrace.api.query.routes.admin.fields import Sent
from millrace.api.query.service import Connection, ServiceOf

router = APIRouter(prefix="/v1", tags=["people"])

Name = Annotated[str, Path(max_length=127)]


class UserState(BaseModel):
    """A user, without what they sign in with."""

    name: str
    role: Role
    sources: list[str] | None = Field(description="Sources that they may see; null: all.")
    datasets: list[str] | None = Field(description="Datasets that they may see; null: all.")
    issuer: str | None = Field(description="The OpenID provider where they sign in; null: here.")
    is_active: bool
    password_changed_at: datetime | None
    created_at: datetime


class ListedUser(UserState):
    """A user in a list of all."""

    signed_in_at: datetime | None


class NewUser(Sent):
    """Somebody who shall sign in; without a password one is made."""

    name: str = Field(max_length=127)
    role: Role
    sources: list[str] | None = Field(None, max_length=255)
    datasets: list[str] | None = Field(None, max_length=255)
    password: SecretStr | None = Field(None, max_length=passwords.MOST)


class ChangedUser(Sent):
    """What changes of a user; what is left out stays, and ``null`` stands for all sources."""

    role: Role | None = None
    sources: list[str] | None = Field(None, max_length=255)
    datasets: list[str] | None = Field(None, max_length=255)
    is_active: bool | None = None


class NewPassword(Sent):
    """A password that replaces another; without one, one is made."""

    password: SecretStr | None = Field(None, max_length=passwords.MOST)


class OwnPassword(Sent):
    """One's own new password, and the one that it replaces."""

    current: SecretStr = Field(max_length=1000)
    password: SecretStr = Field(max_length=passwords.MOST)


class UserPassword(BaseModel):
    """A user's password, shown only now, where it was made and not given."""

    name: str
    password: str | None


@router.get("/users", responses=declared(401, 403, 422))
def list_users(_who: Admin, service: ServiceOf, asked: PageOf) -> Page[ListedUser]:
    """List every user, also those who are disabled."""
    with service.connection() as connection:
        found = users.every(connection)
    items, cursor = asked.sort(found, lambda user: str(user.name))
    return Page(items=[ListedUser.model_validate(vars(user)) for user in items], next=cursor)


@router.get("/users/{name}", responses=declared(401, 403, 404, 422))
def show_user(name: Name, who: Admin, service: ServiceOf, response: Response) -> UserState:
    """Show a user."""
    with service.connection() as connection:
        return tagged(response, _find(connection, name, who))


@router.post(
    "/users", status_code=201, response_model=UserPassword, responses=declared(401, 403, 409, 422)
)
def add_user(body: NewUser, who: Admin, service: ServiceOf, once: DoneOnce) -> Response:
    """Add a user; they may sign in at once."""
    given = _text(body.password)
    rights = Rights(body.role, body.sources, body.datasets)
    check_rights(rights, who)

    def work(connection: Connection) -> Response:
        try:
            password = users.add(connection, body.name, rights, given, who.name)
        except AccessError as error:
            raise refusal(error) from None
        made = UserPassword(name=body.name, password=None if given else password)
        return answer(made, 201, f"{router.prefix}/users/{body.name}")

    return once.run(who, work)


@router.patch("/users/{name}", responses=declared(401, 403, 404, 409, 412, 422, 428))
def change_user(name: Name, body: ChangedUser, who: Admin, edit: Edit) -> UserState:
    """Change a user's rights, disable or enable them; it holds within 5 s."""
    with edit.of(_find, name, who) as it:
        user, given = it.found, body.model_fields_set
        rights = Rights(
            body.role or user.role,
            body.sources if "sources" in given else user.sources,
            body.datasets if "datasets" in given else user.datasets,
        )
        check_rights(rights, who)
        is_active = user.is_active if body.is_active is None else body.is_active
        try:
            users.change(it.connection, name, rights, is_active=is_active, actor=who.name)
        except AccessError as error:
            raise refusal(error) from None
        return it.show()


@router.put("/users/{name}/password", responses=declared(401, 403, 404, 409, 422))
def set_password(name: Name, body: NewPassword, who: Admin, service: ServiceOf) -> UserPassword:
    """Change a user's password; they are signed out everywhere."""
    given = _text(body.password)
    with service.connection() as connection:
        _find(connection, name, who)
        try:
            password = users.set_password(connection, name, given, who.name)
        except AccessError as error:
            raise refusal(error) from None
    return UserPassword(name=name, password=None if given else password)


@router.put("/me/password", status_code=204, responses=declared(401, 403, 409, 422))
def set_own_password(body: OwnPassword, who: Viewer, service: ServiceOf) -> None:
    """Change one's own password; one is signed out everywhere."""
    if who.kind != "user":
        raise ProblemError(409, "conflict", f"{who.name} has no password.")
    service.logins.take(who.name, who.name)
    with service.connection() as connection:
        kept = users.password_hash(connection, who.name)
    if not passwords.verify(kept, body.current.get_secret_value()):
        raise ProblemError(403, "wrong_password", "The current password is another.")
    with service.connection() as connection:
        try:
            users.set_password(connection, who.name, body.password.get_secret_value(), who.name)
        except AccessError as error:
            raise refusal(error) from None


@kept_in("users")
def _find(connection: Connection, name: str, _who: Principal) -> UserState:
    try:
        return UserState.model_validate(vars(users.find(connection, name)))
    except AccessError as error:
        raise ProblemError(404, "not_found", f"{error}.") from None


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
