"""What tells who someone is: columns, and messages as they were received.

Tables that hold a person are found by it, and not from a list: every table whose rows are someone's
has the column ``user_id``, messages as they were received lie in ``key`` and ``value``, and in any
other table a text is someone's if it mentions the id beside the field's name, or was cut from a
message of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from millrace.contract.fields import BY_NAME, COLUMNS
from millrace.contract.sources import Source

PERSONAL_COLUMNS = tuple(column.column for column in COLUMNS if column.is_personal)
"""Columns of the tables of events that ``reader`` does not see and exports protect."""

USER = BY_NAME["user_id"].column
"""The column that says whose a row is."""

AS_RECEIVED = ("key", "value")
"""The columns of a message as it was received."""


def user_keys(sources: Iterable[Source]) -> list[str]:
    """Return the JSON keys under which messages of any source say who sent them."""
    return sorted({USER, *(source.field_names.get(USER, USER) for source in sources)})


def mention(users: Collection[int], keys: Sequence[str]) -> str:
    r"""Return a pattern that finds one of the users beside one of the keys.

    In JSON, in JSON within JSON, where quotes have backslashes, and in ``user_id=12``; both RE2 and
    PostgreSQL read it.
    """
    names = "|".join(map(re.escape, keys))
    ids = "|".join(map(str, sorted(users)))
    return rf"""(^|[^a-zA-Z0-9_])({names})[\\"']*\s*[:=]\s*[\\"']*0*({ids})([.]0*)?($|[^0-9.])"""


def bound(users: Collection[int], keys: Sequence[str]) -> dict[str, Any]:
    """Return what statements about these people bind (``contract/person.sql.jinja``)."""
    return {"users": sorted(users), "mention": mention(users, keys)}
