"""Reports and their runs in PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.reports.model import Panel, Report, ReportError, read
from millrace.stores import postgres, sql

log = logging.getLogger(__name__)

Connection = psycopg.Connection[DictRow]

ADDRESSES = {"slack": "channel", "email": "to", "webhook": "path"}
"""What a recipient may say in place of a route, by the kinds of routes that take reports.

PagerDuty wakes people, and takes no pages.
"""


def rows(connection: Connection) -> list[dict[str, Any]]:
    """Return the reports as they are stored."""
    return connection.execute(_query("reports")).fetchall()


def every(connection: Connection) -> list[Report]:
    """Return the reports; one that can't be read, as of a zone that is no more, stops no other."""
    found = []
    for row in rows(connection):
        try:
            found.append(read(row))
        except ReportError as error:
            log.warning("report %s is left out: %s", row["name"], error)
    return found


def find(connection: Connection, name: str) -> Report:
    """Return a report. Raises ``ReportError``."""
    known = {row["name"]: row for row in rows(connection)}
    if name not in known:
        there = ", ".join(known) or "none"
        raise ReportError(f"no report is called {name} (there are: {there})")
    return read(known[name])


def save(connection: Connection, document: dict[str, Any], actor: str) -> Report:
    """Make a report or change one, which keeps its owner. Raises ``ReportError``."""
    report = read(document)
    for recipient in report.recipients:
        route(connection, recipient.route, recipient.config)
    for panel in resolved(connection, report):
        if panel.problem:
            raise ReportError(f"panels: {panel.title}: {panel.problem}")
    with postgres.change(connection, actor):
        connection.execute(
            _query("save_report"),
            {
                **{"description": "", "is_active": True, **document},
                "panels": Jsonb(document["panels"]),
                "schedule": Jsonb(document["schedule"]) if document.get("schedule") else None,
                "recipients": Jsonb(document.get("recipients") or []),
            },
        )
    return find(connection, report.name)


def remove(connection: Connection, name: str, actor: str) -> None:
    """Delete a report with its runs. Raises ``ReportError``."""
    with postgres.change(connection, actor):
        if not connection.execute("DELETE FROM reports WHERE name = %s", [name]).rowcount:
            find(connection, name)


def resolved(connection: Connection, report: Report) -> list[Panel]:
    """Return the panels of a report with the questions of saved objects in their places.

    One whose object is gone, or not shared with the report's owner, says so in ``problem``.
    """
    return [found for panel in report.panels for found in _resolve(connection, report, panel)]


def _resolve(connection: Connection, report: Report, panel: Panel) -> Iterator[Panel]:
    if not panel.saved:
        yield panel
        return
    row = connection.execute(_query("saved"), {"id": panel.saved, "owner": report.owner}).fetchone()
    if row is None:
        yield replace(panel, problem=f"{report.owner} sees no saved object {panel.saved}")
        return
    content = row["content"]
    parts = content.get("panels") or [{"title": panel.title, "question": content.get("question")}]
    for part in parts:
        question = part.get("question") if isinstance(part, Mapping) else None
        if isinstance(question, Mapping) and question.get("name"):
            texts = {str(name): str(value) for name, value in question.items()}
            yield Panel(str(part.get("title") or panel.title), texts)
        else:
            problem = f"the saved object {row['name']!r} asks no question that a report can ask"
            yield replace(panel, problem=problem)


def route(connection: Connection, name: str, config: Any) -> dict[str, Any]:
    """Return a route's kind, connection and configuration with what a recipient says instead.

    Raises ``ReportError`` where a report can't go that way.
    """
    row = connection.execute(_query("route"), {"name": name}).fetchone()
    if row is None:
        raise ReportError(f"recipients: no route is called {name}; ./millrace alerts routes list")
    address = ADDRESSES.get(row["kind"])
    if address is None:
        kinds = ", ".join(ADDRESSES)
        raise ReportError(f"recipients: reports can't go to {row['kind']}, only to {kinds}")
    if strange := [member for member in config if member != address]:
        raise ReportError(f"recipients: config of {name} may say {address}, not {strange[0]}")
    if not row["is_active"]:
        raise ReportError(f"recipients: route {name} is off; ./millrace alerts routes set --on")
    merged = {**row["config"], **config}
    if address == "path":  # anything else would be a part of the host's name
        if not str(merged.get(address, "/")).startswith("/"):
            raise ReportError(f"recipients: path of {name} must begin with /")
    elif not merged.get(address):
        raise ReportError(f"recipients: route {name} needs {address} in its config, or here")
    return {**row, "config": merged}


def runs(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Return the last runs of a report. Raises ``ReportError``."""
    find(connection, name)
    return connection.execute(_query("runs"), {"report": name}).fetchall()


def is_done(connection: Connection, name: str, due: str) -> bool:
    """Tell whether a report went out for a moment."""
    values = {"report": name, "due": due}
    return bool(postgres.one(connection.execute(_query("is_done"), values))["done"])


def begin(connection: Connection, name: str, due: str, who: str) -> tuple[int, dict[str, Any]]:
    """Begin a run, or go on with one; return its number, and who got it already."""
    values = {"report": name, "due": due, "requested_by": who}
    row = postgres.one(connection.execute(_query("begin_run"), values))
    return row["run_id"], row["receipts"]


def expired_pages(connection: Connection, before: datetime) -> list[str]:
    """Return the keys of old runs' pages."""
    rows = connection.execute(_query("expired_pages"), {"before": before}).fetchall()
    return [row["object_key"] for row in rows]


def expire_runs(connection: Connection, before: datetime) -> None:
    """Forget old runs, whose pages are gone."""
    connection.execute(_query("expire_runs"), {"before": before})


def note(
    connection: Connection,
    run_id: int,
    *,
    object_key: str | None = None,
    receipts: dict[str, Any] | None = None,
    error: str = "",
    is_done: bool = False,
) -> None:
    """Note how far a run has come."""
    values = {
        "run_id": run_id,
        "object_key": object_key,
        "receipts": Jsonb(receipts or {}),
        "error": error,
        "is_done": is_done,
    }
    connection.execute(_query("note_run"), values)


def _query(name: str) -> str:
    return sql.render(f"postgres/reports/{name}.sql")
