"""What is exported, as data: rows of ``export_definitions``, seeded from ``exports.yaml``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.contract import yaml_text
from millrace.settings import REPOSITORY, Settings
from millrace.stores import clickhouse, postgres, sql
from millrace.stores.quoting import identifier

SEEDS = REPOSITORY / "include" / "seeds" / "exports.yaml"
FORMATS = {"Parquet": "Parquet", "CSV": "CSVWithNames", "JSONEachRow": "JSONEachRow"}
"""A format as people name it, and as ClickHouse does."""
ON_DEMAND = "on_demand"
"""The folder of what people ask for, which expires soon."""
SUFFIXES = {"Parquet": "parquet", "CSV": "csv", "JSONEachRow": "jsonl"}
_PLACE = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")


class ExportError(RuntimeError):
    """An export can't be made; the message says why and what to do next."""


class PersonalData(StrEnum):
    """What happens to personal columns, from the least to the most protective."""

    PLAIN = "plain"
    HASHED = "hashed"
    EXCLUDED = "excluded"

    def at_least(self, other: PersonalData) -> bool:
        """Tell whether this protects no less than ``other``."""
        order = list(PersonalData)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Column:
    """A column of an export: ``expression`` over the relation, by default the column itself."""

    name: str
    expression: str
    is_personal: bool = False
    is_binary: bool = False
    """Holds bytes as received, which need not be valid UTF-8."""


@dataclass(frozen=True)
class Definition:
    """One export; the fields are those of the table ``export_definitions``."""

    name: str
    description: str
    relation: str
    columns: tuple[Column, ...]
    time_column: str
    order_by: tuple[str, ...]
    schedule: str
    destination: str
    arrival_column: str = ""
    gate: str = ""
    format: str = "Parquet"
    personal_data: PersonalData = PersonalData.HASHED
    retention_days: int = 90
    is_active: bool = True
    filters: tuple[str, ...] = field(default=(), compare=False)
    """Further conditions of an on-demand export, compiled, with their values bound."""

    @property
    def window(self) -> timedelta:
        """How long a window of this export is."""
        return timedelta(days=1) if self.schedule == "daily" else timedelta(hours=1)

    @property
    def is_archive(self) -> bool:
        """Whether a window holds what arrived in it: the source only grows, and then forgets."""
        return self.arrival_column == self.time_column

    def may_lack(self, settings: Settings, start: datetime) -> bool:
        """Whether the source may have forgotten rows of the window that begins at ``start``."""
        kept = timedelta(days=settings.events_retention_days)
        return self.is_archive or start < datetime.now(UTC) - kept

    @property
    def suffix(self) -> str:
        """The files' suffix."""
        return SUFFIXES[self.format]

    def select(self, settings: Settings, treatment: PersonalData) -> str:
        """Return the SELECT of one window, without its order.

        It binds ``window_start``, ``window_end``, ``snapshot_at`` and, where something is hashed,
        ``hash_key``. Raises ``ExportError`` when no column is left.
        """
        kept = self.kept(treatment)
        columns = [
            {"name": column.name, "expression": _treated(column, treatment)}
            for column in self.columns
            if column.name in kept
        ]
        if not columns:
            raise ExportError(f"export {self.name}: every column is personal and excluded")
        return sql.render(
            "clickhouse/exports/select.sql",
            columns=columns,
            relation=self.qualified_relation(settings),
            time_column=self.time_column,
            arrival_column=self.arrival_column,
            filters=self.filters,
        )

    def holds_binary(self, treatment: PersonalData) -> bool:
        """Tell whether a column of the export holds bytes that need not be UTF-8."""
        plain = treatment is PersonalData.PLAIN
        return any(
            column.is_binary and (plain or not column.is_personal) for column in self.columns
        )

    def order(self, treatment: PersonalData) -> str:
        """Return the list to sort by: columns that are in the export."""
        kept = self.kept(treatment)
        return ", ".join(identifier(name) for name in self.order_by if name in kept) or "ALL"

    def kept(self, treatment: PersonalData) -> list[str]:
        """Return the names of the columns that an export has."""
        return [
            column.name
            for column in self.columns
            if not (column.is_personal and treatment is PersonalData.EXCLUDED)
        ]

    def qualified_relation(self, settings: Settings) -> str:
        """Return the relation with its database."""
        if self.relation.startswith("(") or "." in self.relation:
            return self.relation
        return f"{clickhouse.database(settings)}.{self.relation}"


def _treated(column: Column, treatment: PersonalData) -> str:
    if not column.is_personal or treatment is PersonalData.PLAIN:
        return column.expression
    # HMAC (RFC 2104): without the key a small space such as user ids could be hashed through.
    return f"lower(hex(HMAC('SHA256', toString({column.expression}), {{hash_key:String}})))"


def read(connection: psycopg.Connection[DictRow], name: str | None = None) -> list[Definition]:
    """Return the active definitions, or the one that is named.

    Raises ``ExportError`` when there is none of that name.
    """
    query = sql.render("postgres/exports/definitions.sql")
    found = [_definition(row) for row in connection.execute(query, {"name": name})]
    if name and not found:
        raise ExportError(f"no export is named {name}; ./millrace exports list shows them")
    return found


def asked(
    settings: Settings, connection: psycopg.Connection[DictRow]
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield what each active export asks: what it is, a statement, and values that it binds."""
    bound = {
        "window_start": "2026-01-01 00:00:00",
        "window_end": "2026-01-01 01:00:00",
        "snapshot_at": "2026-01-01 02:00:00",
        "hash_key": "",
    }
    for definition in read(connection):
        with suppress(ExportError):  # one that can't be made is told by its own run
            select = definition.select(settings, definition.personal_data)
            yield f"export {definition.name}", select, bound


def every(connection: psycopg.Connection[DictRow]) -> list[Definition]:
    """Return all definitions, those that are switched off too."""
    rows = connection.execute("SELECT * FROM export_definitions ORDER BY name")
    return [_definition(row) for row in rows]


def overview(connection: psycopg.Connection[DictRow]) -> list[dict[str, Any]]:
    """Return each export with its last window, and how many windows are not out, and why."""
    return connection.execute(sql.render("postgres/exports/overview.sql")).fetchall()


def seeded(path: Path = SEEDS) -> list[Definition]:
    """Return the definitions that every installation has. Raises ``ExportError``."""
    try:
        entries = yaml_text.load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ExportError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ExportError(f"{path} must be a list of exports, each with {', '.join(_FIELDS)}")
    return [parse(entry) for entry in entries]


def apply(settings: Settings, path: Path = SEEDS) -> list[str]:
    """Bring ``export_definitions`` into line with the seeds; return the names in the file.

    A definition that is not in the file is left alone: it was made by someone else; so is whether
    one is on. Raises ``ExportError`` naming the export and the field that does not fit.
    """
    declared = seeded(path)
    with postgres.connect(settings) as connection, connection.transaction():
        for definition in declared:
            put(connection, definition)
    return [definition.name for definition in declared]


def put(connection: psycopg.Connection[DictRow], definition: Definition) -> None:
    """Add a definition, or change the one of its name; whether that is on stays.

    Raises ``ExportError`` when another export writes to its place: each would put its manifests
    over the other's.
    """
    query = "SELECT name FROM export_definitions WHERE destination = %s AND name <> %s"
    other = connection.execute(query, [definition.destination, definition.name]).fetchone()
    if other is not None:
        raise ExportError(
            f"export {definition.name}: destination {definition.destination} is that of "
            f"{other['name']}; take another"
        )
    row = {
        **{key: getattr(definition, key) for key in _FIELDS},
        "columns": Jsonb([vars(column) for column in definition.columns]),
        "order_by": list(definition.order_by),
        "personal_data": str(definition.personal_data),
    }
    connection.execute(sql.render("postgres/exports/apply_definition.sql"), row)


def switch(connection: psycopg.Connection[DictRow], name: str, *, on: bool) -> None:
    """Have an export made, or not any more."""
    connection.execute("UPDATE export_definitions SET is_active = %s WHERE name = %s", [on, name])


def windows_out(connection: psycopg.Connection[DictRow], name: str) -> int:
    """Return how many windows of an export have files that are to expire, or are being made."""
    counted = connection.execute(sql.render("postgres/exports/still_needed.sql"), {"name": name})
    return int(postgres.one(counted)["windows"])


def remove(connection: psycopg.Connection[DictRow], name: str) -> None:
    """Forget an export, of which no window is out (``windows_out``)."""
    connection.execute("DELETE FROM export_definitions WHERE name = %s", [name])


def parse(entry: dict[str, Any]) -> Definition:
    """Return the definition that an entry of the seeds declares.

    Raises ``ExportError`` naming the field that is missing, unknown or wrong.
    """
    name = entry.get("name", "without a name")
    unknown = set(entry) - set(_FIELDS)
    missing = _REQUIRED - set(entry)
    if unknown or missing:
        raise ExportError(
            f"export {name}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}"
        )
    for key, allowed in _CHOICES.items():
        if entry.get(key, allowed[0]) not in allowed:
            raise ExportError(f"export {name}: {key} must be one of {', '.join(allowed)}")
    place = entry["destination"]
    is_place = isinstance(place, str) and _PLACE.fullmatch(place) is not None
    if not is_place or place.partition("/")[0] == ON_DEMAND:
        raise ExportError(
            f"export {name}: destination must be a folder such as exports/{name}, of lower case "
            f"letters, digits and _, and not {ON_DEMAND}"
        )
    days = entry.get("retention_days", 1)
    if not isinstance(days, int) or days < 1:
        raise ExportError(f"export {name}: retention_days must be a number of days, at least 1")
    try:
        definition = _definition(entry)
    except (AttributeError, KeyError, TypeError) as error:
        raise ExportError(
            f"export {name}: columns must be a list of names, or of name, expression, is_personal "
            "and is_binary (true or false); order_by a list of names"
        ) from error
    names = {column.name for column in definition.columns}
    if not names:
        raise ExportError(f"export {name}: columns is empty; list what readers may rely on")
    strangers = {definition.time_column, *definition.order_by} - names
    if strangers:
        raise ExportError(
            f"export {name}: {', '.join(sorted(strangers))} in time_column or order_by is no column"
        )
    return definition


def _definition(row: dict[str, Any]) -> Definition:
    return Definition(
        **{
            **{key: row[key] for key in _FIELDS if key in row},
            "columns": tuple(_column(entry) for entry in row["columns"]),
            "order_by": tuple(row["order_by"]),
            "personal_data": PersonalData(row.get("personal_data", PersonalData.HASHED)),
        }
    )


def _column(entry: str | dict[str, Any]) -> Column:
    if isinstance(entry, str):
        entry = {"name": entry}
    return Column(
        name=entry["name"],
        expression=entry.get("expression") or f"source.{identifier(entry['name'])}",
        is_personal=_truth(entry.get("is_personal", False)),
        is_binary=_truth(entry.get("is_binary", False)),
    )


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def allowed(connection: psycopg.Connection[DictRow], user: str) -> PersonalData:
    """Return the least protective treatment that ``export_roles`` grants a user."""
    query = "SELECT personal_data FROM export_roles WHERE user_name = %s"
    row = connection.execute(query, [user]).fetchone()
    return PersonalData(row["personal_data"]) if row else PersonalData.EXCLUDED


def grant(settings: Settings, user: str, treatment: PersonalData) -> None:
    """Let a user see personal data in on-demand exports as ``treatment`` says."""
    with postgres.connect(settings) as connection:
        query = sql.render("postgres/exports/grant.sql")
        connection.execute(query, [user, str(treatment)])


_CHOICES = {
    "format": [*FORMATS],
    "schedule": ["hourly", "daily", "on_demand"],
    "personal_data": [str(treatment) for treatment in PersonalData],
}
_FIELDS = (
    "name",
    "description",
    "relation",
    "columns",
    "time_column",
    "arrival_column",
    "order_by",
    "schedule",
    "gate",
    "format",
    "destination",
    "personal_data",
    "retention_days",
    "is_active",
)
_REQUIRED = {
    "name",
    "description",
    "relation",
    "columns",
    "time_column",
    "order_by",
    "schedule",
    "destination",
}
