"""Taking a person's rows out of exported objects, the raw archive included."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from millrace.contract.personal import NAMES_USER
from millrace.exports import definitions
from millrace.exports.definitions import FORMATS, Definition, PersonalData
from millrace.exports.windows import Window
from millrace.exports.writer import Exporter
from millrace.settings import Settings
from millrace.stores import sql


def erase(settings: Settings, user_id: int) -> list[str]:
    """Rewrite every published file that holds the user's rows in the clear; return their keys.

    A file is rewritten below a new run, and the window's manifest replaced, like any new export;
    the old files are deleted at once. Exports that hash or exclude personal data are left alone.
    """
    rewritten: list[str] = []
    with Exporter(settings) as exporter:
        for definition in definitions.read(exporter.postgres):
            condition = _condition(definition)
            if not condition:
                continue
            rows = exporter.postgres.execute(
                sql.render("postgres/exports/published_all.sql"), {"name": definition.name}
            ).fetchall()
            for row in rows:
                start = row["window_start"].astimezone(UTC)
                window = Window(definition.name, start, start + definition.window)
                if _holds(exporter, definition, row["prefix"], condition, user_id):
                    rewritten += exporter.rewrite(
                        definition, window, row, condition, {"user": user_id}
                    )
    return rewritten


def _condition(definition: Definition) -> str:
    """Return how to find a user in a definition's files; empty if they don't hold users."""
    names = set(definition.kept(definition.personal_data))
    if definition.personal_data is not PersonalData.PLAIN:
        return ""
    if "user_id" in names:
        return "user_id = {user:UInt64}"
    return NAMES_USER if {"key", "value"} <= names else ""


def _holds(
    exporter: Exporter, definition: Definition, prefix: str, condition: str, user_id: int
) -> bool:
    query = sql.render(
        "clickhouse/exports/count_user.sql",
        collection=exporter.collection,
        prefix=prefix,
        suffix=definition.suffix,
        format=FORMATS[definition.format],
        condition=condition,
    )
    parameters: dict[str, Any] = {"user": user_id}
    return bool(exporter.clickhouse.query(query, parameters=parameters).result_rows[0][0])
