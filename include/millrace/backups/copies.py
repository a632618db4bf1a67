"""Pieces of people's messages that features have kept elsewhere: examples, previews, baselines.

They are found among the texts themselves: one that mentions a person, or was cut from a message of
theirs, is theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData
from psycopg import sql as pgsql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.contract import personal
from millrace.stores import sql

RECEIPTS = "erasures"
TRAIL = "audit_logs"
"""What other tables held before; so it is looked through after them."""

WRITTEN_BY_PEOPLE = {"data_sources", "processing_rules", "gates", "export_definitions"}
"""What is configured is no copy of a message, even if it names a user."""

SHORTEST = 4
"""Shorter texts are words of everyone's, such as a country."""

LONG = 40
"""A text that is no example among others is a copy only if it is no mere word."""


class OwnTexts:
    """Tells which texts are of the people who are erased, while ClickHouse has their messages."""

    def __init__(self, client: Client, tables: Mapping[str, Any], bound: dict[str, Any]) -> None:
        self._client, self._tables, self._bound = client, tables, bound

    def among_column(self, table: str, texts: str, *, are_elements: bool) -> list[str]:
        """Return the digests of those among the texts that an expression gives for a table."""
        query = sql.render(
            "clickhouse/backups/copied_texts.sql",
            table=table,
            texts=texts,
            shortest=SHORTEST if are_elements else LONG,
            **self._tables,
        )
        return [row[0] for row in self._client.query(query, parameters=self._bound).result_rows]

    def among(self, texts: Collection[str]) -> set[str]:
        """Return those among some texts."""
        if not texts:
            return set()
        query = sql.render(
            "clickhouse/backups/copied_texts.sql",
            table="candidates",
            texts="[candidate]",
            shortest=SHORTEST,
            **self._tables,
        )
        # Beside the statement: what a statement binds may not be long.
        lines = "\n".join(json.dumps({"candidate": text}) for text in sorted(texts))
        candidates = ExternalData(
            file_name="candidates",
            data=lines.encode(),
            fmt="JSONEachRow",
            structure=["candidate String"],
        )
        digests = {sha256(text.encode()).hexdigest().upper(): text for text in texts}
        found = self._client.query(query, parameters=self._bound, external_data=candidates)
        return {digests[row[0]] for row in found.result_rows}


def count_rows(connection: psycopg.Connection[DictRow], users: Sequence[int]) -> dict[str, int]:
    """Count the people's rows in tables of PostgreSQL that say whose a row is."""
    counts = {}
    for table in _of_users(connection):
        query = pgsql.SQL("SELECT count(*) AS n FROM {} WHERE {} = ANY(%s)").format(
            pgsql.Identifier(table), pgsql.Identifier(personal.USER)
        )
        counts[table] = int(connection.execute(query, [list(users)]).fetchall()[0]["n"])
    return counts


def delete_rows(connection: psycopg.Connection[DictRow], users: Sequence[int]) -> None:
    """Delete those rows; the audit trail remembers that they were there, not what was in them."""
    with connection.transaction():
        for table in _of_users(connection):
            query = pgsql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(
                pgsql.Identifier(table), pgsql.Identifier(personal.USER)
            )
            connection.execute(query, [list(users)])
            connection.execute(
                sql.render("postgres/backups/blank_audit_logs.sql"),
                [table, [str(user) for user in users]],
            )


def delete_texts(
    connection: psycopg.Connection[DictRow],
    own: OwnTexts,
    users: Collection[int],
    keys: Sequence[str],
) -> None:
    """Take texts of these people out of every column of JSON."""
    mentions = re.compile(personal.mention(users, keys))

    def names(one: Mapping[str, Any]) -> bool:
        return any(str(one.get(key)) in map(str, users) for key in keys)

    found = _json_columns(connection)
    with connection.transaction():
        for table, column in sorted(found, key=lambda place: place[0] == TRAIL):
            place = {"table": pgsql.Identifier(table), "column": pgsql.Identifier(column)}
            query = pgsql.SQL(
                "SELECT ctid, {column} AS held FROM {table} WHERE {column} IS NOT NULL FOR UPDATE"
            )
            rows = connection.execute(query.format(**place)).fetchall()
            leaves = {leaf for row in rows for leaf in _leaves(row["held"], is_element=True)}
            gone = own.among(leaves) | {leaf for leaf in leaves if mentions.search(leaf)}
            for row in rows:
                kept = _without(row["held"], gone, names, is_element=True)
                if kept != row["held"]:
                    _put(connection, place, row["ctid"], kept, is_trail=table == TRAIL)


def _put(
    connection: psycopg.Connection[DictRow],
    place: dict[str, pgsql.Identifier],
    ctid: str,
    kept: Any,
    *,
    is_trail: bool,
) -> None:
    """Write what is left of a value; a row that was all about a person goes with it."""
    if kept == {} and not is_trail:
        change = pgsql.SQL("DELETE FROM {table} WHERE ctid = %s").format(**place)
        connection.execute(change, [ctid])
    else:
        change = pgsql.SQL("UPDATE {table} SET {column} = %s WHERE ctid = %s").format(**place)
        connection.execute(change, [Jsonb(kept), ctid])


def _leaves(value: Any, *, is_element: bool) -> Iterator[str]:
    """Give the texts in a value that may be copies."""
    if isinstance(value, str):
        if is_element or len(value) >= LONG:
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _leaves(one, is_element=False)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _leaves(one, is_element=True)


def _without(
    value: Any,
    gone: Collection[str],
    names: Callable[[Mapping[str, Any]], bool],
    *,
    is_element: bool,
) -> Any:
    """Return JSON without some texts and without objects that name a person."""
    if isinstance(value, str):
        return None if value in gone and (is_element or len(value) >= LONG) else value
    if isinstance(value, Mapping):
        if names(value):
            return {}
        return {key: _without(one, gone, names, is_element=False) for key, one in value.items()}
    if isinstance(value, Sequence):
        kept = [(one, _without(one, gone, names, is_element=True)) for one in value]
        return [new for old, new in kept if new == old or new not in (None, {})]
    return value


def _of_users(connection: psycopg.Connection[DictRow]) -> list[str]:
    rows = connection.execute(
        sql.render("postgres/backups/user_tables.sql"), {"name": personal.USER}
    )
    return [row["table_name"] for row in rows if row["table_name"] != RECEIPTS]


def _json_columns(connection: psycopg.Connection[DictRow]) -> list[tuple[str, str]]:
    rows = connection.execute(sql.render("postgres/backups/json_columns.sql"))
    left_alone = WRITTEN_BY_PEOPLE | {RECEIPTS}
    return [
        (row["table_name"], row["column_name"])
        for row in rows
        if row["table_name"] not in left_alone
    ]
