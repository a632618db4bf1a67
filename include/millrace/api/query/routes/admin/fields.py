"""What requests and answers of the administration are made of, and how refusals name a field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

from millrace.access.roles import Principal
from millrace.api.http import ProblemError

DEEPEST = 32
"""How deep a document may be nested."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
"""A text that people read."""

Named = Annotated[str, Path(max_length=300)]
"""The name of a thing, as a part of its address."""


def _shallow(value: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _shallow(part, depth + 1)
    return value


Document = Annotated[dict[str, Any], AfterValidator(_shallow)]
"""A JSON object whose members are the feature's affair."""


def _of_these_years(moment: datetime) -> datetime:
    if not 1971 <= moment.year <= 2199:
        raise ValueError("it must be within the years 1971 to 2199")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_of_these_years)]
"""A time with its zone, which every store can hold."""


class Sent(BaseModel):
    """A body: a member that it does not know is refused, since somebody meant something by it."""

    model_config = ConfigDict(extra="forbid")


class Change(Sent):
    """What is to be changed of a thing; what is left out, or null, stays as it is."""

    def wanted(self) -> dict[str, Any]:
        """Return the members that are to be set."""
        return self.model_dump(exclude_none=True)


def missing(what: str, name: str) -> ProblemError:
    """Return the problem of a thing that is not there."""
    return ProblemError(404, "not_found", f"There is no {what} {name[:80]!r}.")


def refuse(code: str, detail: str, pointer: str = "", status: int = 422) -> NoReturn:
    """Raise the problem of a request that is well formed and can't be done."""
    errors = {"errors": [{"pointer": pointer, "detail": detail}]} if pointer else None
    raise ProblemError(status, code, detail, extra=errors)


_FIELD = re.compile(r"(?:(?:rule|export) [^:]*: )?([a-z_]+)((?:\.\w+)*)(?::| is | must | ')")


@contextmanager
def refusing(
    *errors: type[Exception], code: str, body: Sent | None = None, pointer: str = ""
) -> Iterator[None]:
    """Turn a feature's errors, which say what is wrong, into problems (422).

    ``pointer`` is the member at fault; without one it is the member of ``body`` that the message
    begins with, if it does.
    """
    try:
        yield
    except errors as error:
        found = _FIELD.match(str(error))
        place = "/body"
        if found and body is not None and found[1] in _members(body):
            place = f"/body/{found[1]}{found[2].replace('.', '/')}"
        refuse(code, str(error), pointer or place)


def _members(body: Sent) -> set[str]:
    return {field.alias or name for name, field in type(body).model_fields.items()}


def may_see(who: Principal, source_id: str | None) -> bool:
    """Tell whether somebody's rights reach a source; ``None``: what is no source's."""
    return who.sources is None or source_id is None or source_id in who.sources
