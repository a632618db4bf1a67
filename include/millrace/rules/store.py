"""Rules and event types in PostgreSQL: reading, changing (audited), and the seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.contract import yaml_text
from millrace.contract.errors import RuleError
from millrace.rules.model import Rule, validate
from millrace.settings import REPOSITORY, Settings
from millrace.stores import sql
from millrace.stores.postgres import change as change

Connection = psycopg.Connection[DictRow]
SEEDS = REPOSITORY / "include" / "seeds"


def all_rules(connection: Connection) -> list[tuple[Rule, bool]]:
    """Return every rule and whether it is active, in the order of priority."""
    found = connection.execute(sql.render("postgres/rules/rules.sql")).fetchall()
    pairs = []
    for row in found:
        active = row.pop("is_active")
        row.pop("rule_id")
        pairs.append((Rule(**row), active))
    return pairs


def rules_of(connection: Connection, source_id: str) -> list[Rule]:
    """Return the active rules that hold for a source."""
    return [
        rule
        for rule, active in all_rules(connection)
        if active and rule.source_id in (None, source_id)
    ]


def find_rule(connection: Connection, name: str) -> Rule:
    """Return a rule by its name. Raises ``RuleError`` when there is none."""
    for rule, _ in all_rules(connection):
        if rule.name == name:
            return rule
    raise RuleError(f"there is no rule {name!r}; './millrace rules list' shows all")


def put_rule(connection: Connection, rule: Rule) -> None:
    """Add a rule, or change the one of its name; its version grows with every change.

    Call it within ``change`` together with the compilation of the gates, so that a rule that
    makes no statement leaves no trace. Raises ``RuleError`` when the rule is not valid.
    """
    validate(rule)
    values = {**rule.as_json(), "config": Jsonb(rule.config)}
    try:
        connection.execute(sql.render("postgres/rules/put_rule.sql"), values)
    except psycopg.errors.ForeignKeyViolation as error:
        raise RuleError(
            f"rule {rule.name}: source_id {rule.source_id!r} is not in data_sources"
        ) from error
    except psycopg.errors.CheckViolation as error:
        raise RuleError(
            f"rule {rule.name}: name must be lower-case letters, digits and underscores"
        ) from error


def set_column(
    connection: Connection,
    name: str,
    column: Literal["mode", "is_active", "priority"],
    value: object,
) -> None:
    """Set ``mode``, ``is_active`` or ``priority`` of a rule.

    Raises ``RuleError`` if the rule is unknown, or can't be so.
    """
    rule = find_rule(connection, name)
    if column != "is_active":
        changed: dict[str, Any] = {column: value}
        validate(replace(rule, **changed))
    statement = sql.render("postgres/rules/set_column.sql", column=column)
    connection.execute(statement, {"name": name, "value": value})


def remove_rule(connection: Connection, name: str) -> None:
    """Delete a rule; ``audit_logs`` keeps what it was."""
    find_rule(connection, name)
    connection.execute("DELETE FROM processing_rules WHERE name = %s", [name])


def register_event_type(connection: Connection, event_type: str, description: str) -> None:
    """Register an event type, or make it active again."""
    connection.execute(
        sql.render("postgres/rules/register_event_type.sql"),
        {"event_type": event_type, "description": description},
    )


def _seed_file(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml_text.load((SEEDS / name).read_text(encoding="utf-8"))
    return loaded


def seeded_rules() -> list[Rule]:
    """Return the rules that every installation starts with."""
    return [Rule(**entry) for entry in _seed_file("processing_rules.yaml")]


def seeded_event_types() -> list[dict[str, Any]]:
    """Return the event types that are registered from the start."""
    return _seed_file("event_types.yaml")


def seed(connection: Connection, settings: Settings) -> dict[str, int]:
    """Add the default source, the event types and the rules that are missing.

    What is there stays as it is, whoever changed it. Returns how many of each were added.
    """
    added = {"data_sources": 0, "event_types": 0, "processing_rules": 0}
    with change(connection, "seed"):
        added["data_sources"] = connection.execute(
            sql.render("postgres/rules/seed_source.sql"),
            {"topic": settings.events_topic, "dead_letter_topic": settings.dead_letter_topic},
        ).rowcount
        for entry in seeded_event_types():
            added["event_types"] += connection.execute(
                sql.render("postgres/rules/seed_event_type.sql"), entry
            ).rowcount
        known = {rule.name for rule, _ in all_rules(connection)}
        for rule in seeded_rules():
            if rule.name not in known:
                put_rule(connection, rule)
                added["processing_rules"] += 1
    return added
