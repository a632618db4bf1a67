"""The columns of an export, and their versions: a change of them is announced, not found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.exports.definitions import Definition, ExportError
from millrace.settings import Settings
from millrace.stores import clickhouse, sql
from millrace.stores.errors import first_line
from millrace.stores.quoting import identifier, literal

Columns = list[dict[str, str]]
"""Names and types, in their order."""


@dataclass(frozen=True)
class Version:
    """A version of an export's columns; ``changes`` are those since the one before."""

    number: int
    columns: Columns
    changes: dict[str, list[str]]
    is_new: bool


def describe(client: Client, select: str, parameters: Mapping[str, object]) -> Columns:
    """Return the names and types of the columns of a SELECT."""
    rows = client.query(f"DESCRIBE ({select})", parameters=dict(parameters)).result_rows
    return [{"name": row[0], "type": row[1]} for row in rows]


def check(settings: Settings, definition: Definition) -> Columns:
    """Return the columns that an export would have, without making it.

    Raises ``ExportError`` with what ClickHouse says against it.
    """
    now = datetime.now(UTC)
    names = ("window_start", "window_end", "snapshot_at")
    bound = {**dict.fromkeys(names, now), "hash_key": ""}
    select = definition.select(settings, definition.personal_data)
    with clickhouse.connect(settings, "exporter") as client:
        try:
            return describe(client, select, bound)
        except OperationalError:
            raise
        except DatabaseError as error:
            raise ExportError(
                f"export {definition.name}: ClickHouse refuses it: {first_line(error, 500)}"
            ) from error


def structure(columns: Columns) -> str:
    """Return columns as the table function ``s3`` takes them."""
    return literal(", ".join(f"{identifier(one['name'])} {one['type']}" for one in columns))


def version_of(connection: psycopg.Connection[DictRow], name: str, columns: Columns) -> Version:
    """Return the version of an export's columns; one that is new is recorded."""
    last = connection.execute(sql.render("postgres/exports/last_schema.sql"), [name]).fetchone()
    if last is not None and last["columns"] == columns:
        return Version(last["version"], columns, last["changes"], is_new=False)
    number = last["version"] + 1 if last else 1
    changes = compare(last["columns"], columns) if last else {}
    connection.execute(
        "INSERT INTO export_schemas (name, version, columns, changes) VALUES (%s, %s, %s, %s)",
        [name, number, Jsonb(columns), Jsonb(changes)],
    )
    return Version(number, columns, changes, is_new=True)


def compare(old: Columns, new: Columns) -> dict[str, list[str]]:
    """Return what new columns add, remove and give another type."""
    before = {column["name"]: column["type"] for column in old}
    after = {column["name"]: column["type"] for column in new}
    return {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "retyped": [name for name in after if name in before and after[name] != before[name]],
    }
