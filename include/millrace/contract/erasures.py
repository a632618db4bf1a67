"""Orders to erase a person, as all who write events must know them.

An order stands from the moment that it is committed: whatever the person sent before, or tells of
before, is written by nobody any more, however late it comes and whoever brings it back. What the
person sends afterwards is new. Who publishes reads the orders before, and sees under the
publication lock that no other was given since (``newest``); who carries one out holds that lock
alone, and so finds everything that was written without knowing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from millrace.stores import sql


@dataclass(frozen=True)
class Orders:
    """Who was to be erased, with the moment from which back; ``newest`` tells them from others."""

    newest: datetime | None = None
    users: tuple[tuple[int, datetime], ...] = ()


class ErasedMeanwhileError(RuntimeError):
    """Somebody was ordered to be erased since the orders were read; read them and judge again."""


def newest(connection: psycopg.Connection[DictRow]) -> datetime | None:
    """Return the moment of the newest order; none without any."""
    row = connection.execute(sql.render("postgres/contract/newest_erasure.sql")).fetchone()
    moment: datetime | None = row["newest"] if row else None
    return moment


def read(connection: psycopg.Connection[DictRow], known: Orders | None = None) -> Orders:
    """Return the orders; ``known`` ones are read again only if there are newer."""
    moment = newest(connection)
    if known is not None and known.newest == moment:
        return known
    rows: list[Any] = connection.execute(sql.render("postgres/contract/erasures.sql")).fetchall()
    return Orders(moment, tuple((int(row["user_id"]), row["until"]) for row in rows))


def demand_same(connection: psycopg.Connection[DictRow], known: Orders) -> None:
    """Raise ``ErasedMeanwhileError`` unless ``known`` are still all orders."""
    if newest(connection) != known.newest:
        raise ErasedMeanwhileError("a person was ordered to be erased meanwhile")
