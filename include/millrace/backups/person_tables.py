"""Tables of ClickHouse that hold people, found by their columns."""

from __future__ import annotations

from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from millrace.contract.personal import AS_RECEIVED, USER
from millrace.stores import sql
from millrace.stores.quoting import identifier


@dataclass(frozen=True)
class CopyColumn:
    """A column in which features keep pieces of messages, such as examples.

    ``texts`` is an expression for the texts of a row, ``statement`` takes those out whose digests
    are bound as ``digests``. Those that ``are_elements`` of a list may be values of fields, others
    are whole messages.
    """

    table: str
    texts: str
    statement: str
    are_elements: bool


class Tables:
    """What there is in every database, or in ``staging``, where a restore reads tables into.

    ``of_users`` have a column that says whose a row is, in ``as_received`` messages are as they
    came, and in ``copies`` are columns of Millrace's own other tables that hold free text. Nothing
    can be deleted from those that are ``append_only``.
    """

    def __init__(self, client: Client, base: str, staging: str = "") -> None:
        self._base, self._staging = base, staging
        self.of_users: list[str] = []
        self.as_received: list[str] = []
        self.copies: list[CopyColumn] = []
        self.append_only: set[str] = set()
        rows = client.query(
            sql.render("clickhouse/backups/person_columns.sql", staging=staging),
            parameters={"staging": staging} if staging else None,
        ).result_rows
        for database, table, columns, keys, is_append_only in rows:
            name = identifier(database, table)
            if is_append_only:
                self.append_only.add(name)
            types = dict(columns)
            if USER in types:
                self.of_users.append(name)
            elif set(AS_RECEIVED) <= types.keys():
                self.as_received.append(name)
            elif not is_append_only and (database == base or table.startswith(f"{base}.")):
                for column, type_ in columns:
                    self._add_copies(name, column, type_, is_key=column in keys)

    def named(self, table: str) -> str:
        """Return where one of Millrace's own tables is."""
        if self._staging:
            return identifier(self._staging, f"{self._base}.{table}")
        return identifier(self._base, table)

    def _add_copies(self, table: str, column: str, type_: str, *, is_key: bool) -> None:
        name = identifier(column)
        if type_ == "Array(String)":
            others = f"arrayFilter(x -> NOT {_is_among('x')}, {name})"
            change = f"UPDATE {name} = {others} WHERE arrayExists(x -> {_is_among('x')}, {name})"
            texts = name
        elif type_ == "String" and not is_key:
            change = f"UPDATE {name} = '' WHERE {_is_among(name)}"
            texts = f"[{name}]"
        elif type_ == "String" or (type_.startswith("Map(") and "String" in type_):
            change = f"DELETE WHERE {_is_among(f'toString({name})')}"
            texts = f"[toString({name})]"
        else:
            return
        is_list = type_ == "Array(String)"
        self.copies.append(CopyColumn(table, texts, f"ALTER TABLE {table} {change}", is_list))


def _is_among(text: str) -> str:
    """Return the condition that the digest of a text is one of those that are bound."""
    return f"has({{digests:Array(String)}}, hex(SHA256({text})))"
