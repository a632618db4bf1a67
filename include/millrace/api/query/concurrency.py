"""Two people change one thing: the second is told, and overwrites nothing unseen.

What is shown of one thing has an ETag made of its state. A change says in If-Match which state it
is meant for; it is refused where there is none (428) or the thing has changed since (412). What is
made anew is refused where there is one already, also one made at the same moment (409).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Header, Response
from psycopg.sql import SQL, Identifier
from pydantic import BaseModel

from millrace.access.roles import Principal
from millrace.api.http import JSON, ProblemError
from millrace.api.query.service import Connection, ServiceOf
from millrace.contract import locks

Thing = TypeVar("Thing", bound=BaseModel)

_TAG = re.compile(r'(W/)?"([^"]*)"')


def etag(thing: BaseModel) -> str:
    """Return the strong entity tag of a thing: equal as long as it is shown equally."""
    return f'"{hashlib.sha256(thing.model_dump_json().encode()).hexdigest()[:32]}"'


def tagged(response: Response, thing: Thing) -> Thing:
    """Give the answer that shows a thing the thing's ETag."""
    response.headers["etag"] = etag(thing)
    return thing


def answer(thing: BaseModel, status: int = 200, location: str = "") -> Response:
    """Return an answer that shows a thing, with its ETag and, where it is new, its address."""
    headers = {"etag": etag(thing)} | ({"location": location} if location else {})
    return Response(thing.model_dump_json(), status, headers, JSON)


@dataclass(frozen=True)
class Expected:
    """The states that a change is meant for; ``None``: any, as long as the thing is there."""

    tags: frozenset[str] | None

    def check(self, thing: BaseModel) -> None:
        """Refuse the change if the thing is in another state. Raises ``ProblemError`` (412).

        Call it once the thing is locked, in the transaction that changes it.
        """
        if self.tags is not None and etag(thing) not in self.tags:
            raise ProblemError(
                412,
                "changed_meanwhile",
                "It has changed since you read it. Read it again, and send your change with the "
                "new ETag in If-Match.",
            )


def lock(connection: Connection, table: str, column: str, key: object) -> bool:
    """Let nobody else make or change the rows of a key until the transaction ends.

    Returns whether there are any; a row that another request is making is waited for.
    """
    locks.until_commit(connection, locks.EDIT, table, key)
    statement = SQL("SELECT 1 FROM {} WHERE {} = %s FOR UPDATE")
    found = connection.execute(statement.format(Identifier(table), Identifier(column)), [key])
    return found.fetchone() is not None


_IfMatchHeader = Annotated[
    str | None, Header(description="The ETag of the state that the change is meant for.")
]


async def _read(if_match: _IfMatchHeader = None) -> Expected | None:
    if if_match is None or not if_match.strip():
        return None
    if if_match.strip() == "*":
        return Expected(None)
    found = _TAG.findall(if_match)
    return Expected(frozenset(f'"{tag}"' for weak, tag in found if not weak))


def demand(expected: Expected | None) -> Expected:
    """Return the state that a change is meant for. Raises ``ProblemError`` (428): none was said."""
    if expected is None:
        raise ProblemError(
            428,
            "precondition_required",
            "If-Match is missing: read the thing first, and send its ETag, so that nobody's "
            "change is overwritten unseen.",
        )
    return expected


IfMatchIfThere = Annotated[Expected | None, Depends(_read)]
"""The state that a change is meant for, if it was said: of what may be made by the same request."""


async def _expected(expected: IfMatchIfThere) -> Expected:
    return demand(expected)


IfMatch = Annotated[Expected, Depends(_expected)]
"""The state that a change is meant for, as an argument of a route."""


Find = Callable[[Connection, Any, Principal], Thing]
"""Returns the thing of a key that somebody may see. Raises ``ProblemError`` where there is none."""


@dataclass(frozen=True)
class Kept(Generic[Thing]):
    """How a kind of thing is found, and the rows that are its state."""

    table: str
    column: str
    find: Find[Thing]

    def __call__(self, connection: Connection, key: Any, who: Principal) -> Thing:
        """Return the thing of a key."""
        return self.find(connection, key, who)

    def claim(self, connection: Connection, key: str, what: str) -> None:
        """Let nobody else make the thing of a key until the transaction ends.

        Raises ``ProblemError`` (409) where there is one; ``what`` is the kind with its article.
        """
        if lock(connection, self.table, self.column, key):
            detail = f"there is {what} {key}; change it at its own address"
            at_fault = {"pointer": f"/body/{self.column}", "detail": detail}
            raise ProblemError(409, "exists", detail, extra={"errors": [at_fault]})


def kept_in(table: str, column: str = "name") -> Callable[[Find[Thing]], Kept[Thing]]:
    """Decorate what finds a thing with the table and the column of its key."""
    return lambda find: Kept(table, column, find)


@dataclass(frozen=True)
class Edited(Generic[Thing]):
    """A thing that nobody else changes now, ``found`` in the state that the change is meant for."""

    connection: Connection
    found: Thing
    show: Callable[[], Thing]
    """Returns it as it is by now, with its ETag in the answer."""


@dataclass(frozen=True)
class Editor:
    """Changes one thing for one request."""

    expected: Expected
    service: ServiceOf
    response: Response

    @contextmanager
    def of(self, kept: Kept[Thing], key: Any, who: Principal) -> Iterator[Edited[Thing]]:
        """Hold the thing of a key until the change is made, or fails and leaves nothing.

        Raises ``ProblemError``: as ``kept`` does, and 412 where the thing is in another state.
        """
        with self.service.change(who) as connection:
            lock(connection, kept.table, kept.column, key)
            found = kept(connection, key, who)
            self.expected.check(found)
            yield Edited(
                connection, found, lambda: tagged(self.response, kept(connection, key, who))
            )


async def _editor(expected: IfMatch, service: ServiceOf, response: Response) -> Editor:
    return Editor(expected, service, response)


Edit = Annotated[Editor, Depends(_editor)]
"""Changes the thing that a request is about, as an argument of a route."""
