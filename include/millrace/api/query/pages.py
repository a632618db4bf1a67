"""Long lists in pages: what comes behind a cursor, which says where the page before ended."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from millrace.api.http import ProblemError

Item = TypeVar("Item")
MOST = 1000


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: str | None = Field(
        None, description="The cursor of the page behind it; null on the last one."
    )


@dataclass(frozen=True)
class Asked:
    """Which page is asked for: at most ``limit`` items, behind the one of the key ``after``."""

    limit: int
    after: str | None
    address: Callable[[str], str]
    response: Response

    @property
    def number(self) -> int | None:
        """The key to begin behind, as a number of 64 bits. Raises ``ProblemError`` (422)."""
        if self.after is None:
            return None
        if not self.after.isdecimal() or len(self.after) > 18:
            raise self.malformed()
        return int(self.after)

    @staticmethod
    def malformed() -> ProblemError:
        """Return the problem of a cursor that no answer gave."""
        detail = "it is none that an answer gave; leave it out to begin"
        return ProblemError(
            422,
            "invalid_request",
            f"cursor: {detail}",
            extra={"errors": [{"pointer": "/query/cursor", "detail": detail}]},
        )

    def sort(self, rows: Iterable[Any], key: Callable[[Any], str]) -> tuple[list[Any], str | None]:
        """Return the page of rows that are all there, by their keys, and its cursor."""
        rest = [row for row in sorted(rows, key=key) if self.after is None or key(row) > self.after]
        return self.cut(rest, key)

    def cut(self, rows: Sequence[Any], key: Callable[[Any], str]) -> tuple[list[Any], str | None]:
        """Return the page that rows begin with, one of which may be too many, and its cursor."""
        page = list(rows[: self.limit])
        if len(rows) <= self.limit:
            return page, None
        cursor = base64.urlsafe_b64encode(key(page[-1]).encode()).decode().rstrip("=")
        self.response.headers["link"] = f'<{self.address(cursor)}>; rel="next"'
        return page, cursor


async def _asked(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Items of a page at most.")] = 100,
    cursor: Annotated[
        str | None, Query(max_length=4000, description="`next` of the page before.")
    ] = None,
) -> Asked:
    after = None
    if cursor is not None:
        try:
            padded = cursor.encode() + b"=" * (-len(cursor) % 4)
            after = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        except (binascii.Error, UnicodeError):
            raise Asked.malformed() from None
    return Asked(
        limit,
        after,
        lambda found: f"?{request.url.include_query_params(cursor=found).query}",
        response,
    )


PageOf = Annotated[Asked, Depends(_asked)]
"""The page that is asked for, as an argument of a route."""
