"""Event types that may come: listed, registered, retired."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from millrace.contract.errors import RuleError
from millrace.rules import store
from millrace.rules.store import Connection
from millrace.stores import sql

LONGEST = 200


def every(connection: Connection) -> list[dict[str, Any]]:
    """Return every event type, those that are retired too, by name."""
    return connection.execute(sql.render("postgres/rules/event_types.sql")).fetchall()


def find(connection: Connection, name: str) -> dict[str, Any]:
    """Return an event type with the names of its own rules. Raises ``RuleError`` if unknown."""
    for row in every(connection):
        if row["event_type"] == name:
            rules = [
                rule.name for rule, _ in store.all_rules(connection) if rule.event_type == name
            ]
            return row | {"rules": rules}
    raise RuleError(f"event type {name!r} is not registered; ./millrace event-types list shows all")


def check_name(connection: Connection, name: str) -> None:
    """Refuse a name that nobody means to register. Raises ``RuleError``."""
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > LONGEST:
        raise RuleError(
            f"{name[:40]!r} can't be an event type: it must have 1 to {LONGEST} characters, none "
            "that can't be seen, and no space at either end"
        )
    same = {_plain(row["event_type"]): row["event_type"] for row in every(connection)}
    known = same.get(_plain(name), name)
    if known != name:
        raise RuleError(
            f"{name!r} differs from the event type {known!r} by nothing but case and punctuation; "
            "have the producer send that, or map one to the other with a rule"
        )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def add(connection: Connection, name: str, description: str, owner: str) -> None:
    """Let events of a new type pass. Raises ``RuleError`` for a name that nobody means."""
    check_name(connection, name)
    values = {"event_type": name, "description": description, "owner": owner}
    connection.execute(sql.render("postgres/rules/add_event_type.sql"), values)


def change(connection: Connection, name: str, wanted: Mapping[str, object]) -> None:
    """Set ``description``, ``owner`` or ``is_active``; what is not in ``wanted`` stays."""
    values = {"description": None, "owner": None, "is_active": None, **wanted}
    connection.execute(
        sql.render("postgres/rules/change_event_type.sql"), values | {"event_type": name}
    )


def retire(connection: Connection, name: str) -> None:
    """Have events of a type rejected from now on. Raises ``RuleError`` if it is unknown."""
    find(connection, name)
    change(connection, name, {"is_active": False})
