"""Schema drift: event types, fields and kinds of value that came without being registered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from millrace.contract.errors import RuleError
from millrace.rules.store import Connection, register_event_type
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

LOOKBACK = timedelta(minutes=10)
NAME_LENGTH = 200
"""Characters of a name that are kept; PostgreSQL's indexes take about 2,700 bytes."""


def record(settings: Settings, now: datetime | None = None) -> int:
    """Compare what came in the last minutes with what is registered; return new drifts.

    The fields of an event type that was never looked at are taken as registered: they are its
    schema, not its drift. A name that PostgreSQL can't hold, or longer than ``NAME_LENGTH``, is
    recorded as ``postgres.shortened`` makes it.
    """
    moment = now or datetime.now(UTC)
    with clickhouse.connect(settings, "loader") as client:
        bounds = {"start": moment - LOOKBACK, "end": moment}
        fields = [
            (_name(event_type), _name(field), *seen)
            for event_type, field, *seen in client.query(
                sql.render("clickhouse/rules/fields_seen.sql"), parameters=bounds
            ).result_rows
        ]
        types = [
            (_name(event_type), *seen)
            for event_type, *seen in client.query(
                sql.render("clickhouse/rules/event_types_refused.sql"), parameters=bounds
            ).result_rows
        ]
    new = 0
    with postgres.connect(settings) as connection, connection.transaction():
        rows = connection.execute("SELECT event_type, field, value_type FROM event_fields")
        registered = {(r["event_type"], r["field"], r["value_type"]) for r in rows}
        known_types = {event_type for event_type, _, _ in registered}
        known_fields = {(event_type, field) for event_type, field, _ in registered}
        for event_type, field, value_type, count, examples, first, last in fields:
            if event_type not in known_types:
                _register_field(connection, event_type, field, value_type)
            elif (event_type, field, value_type) not in registered:
                kind = "type_change" if (event_type, field) in known_fields else "new_field"
                seen = (kind, event_type, field, value_type, count, examples, first, last)
                new += _put(connection, *seen)
        for event_type, count, examples, first, last in types:
            new += _put(
                connection, "new_event_type", event_type, "", "", count, examples, first, last
            )
    return new


def _name(text: Any) -> str:
    return postgres.shortened(str(text), NAME_LENGTH)


def _register_field(connection: Connection, event_type: str, field: str, value_type: str) -> None:
    connection.execute(
        sql.render("postgres/rules/register_field.sql"),
        {"event_type": event_type, "field": field, "value_type": value_type},
    )


def _put(connection: Connection, *values: Any) -> int:
    """Record a drift; return 1 where it is new."""
    kind, event_type, field, value_type, count, examples, first, last = values
    row = connection.execute(
        sql.render("postgres/rules/put_drift.sql"),
        [kind, event_type, field, value_type, count, Jsonb(examples), first, last],
    ).fetchone()
    return int(row is not None and row["is_new"])


def open_drifts(connection: Connection) -> list[dict[str, Any]]:
    """Return the drifts that wait to be registered, newest first."""
    return connection.execute(
        "SELECT * FROM schema_drifts WHERE registered_at IS NULL ORDER BY last_seen_at DESC"
    ).fetchall()


def register(connection: Connection, drift_id: int) -> None:
    """Take what drifted into the schema; the gates have to be compiled afterwards.

    Raises ``RuleError`` when there is no such drift, or it is an event type whose name had to be
    changed to be kept, so that events would not match it.
    """
    found = connection.execute(
        "UPDATE schema_drifts SET registered_at = now() WHERE drift_id = %s RETURNING *",
        [drift_id],
    ).fetchone()
    if found is None:
        raise RuleError(f"there is no drift {drift_id}; './millrace rules drift' lists them")
    if found["kind"] == "new_event_type":
        if postgres.SUBSTITUTE in found["event_type"] or len(found["event_type"]) == NAME_LENGTH:
            raise RuleError(
                f"drift {drift_id}: the name of this event type was cut, or has characters that "
                "can't be kept, so it can't be registered; send a shorter, plainer one"
            )
        register_event_type(connection, found["event_type"], "Registered from schema drift.")
    else:
        _register_field(connection, found["event_type"], found["field"], found["value_type"])
