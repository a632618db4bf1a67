"""Trials: what a rule or a gate would say of messages that are already here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from millrace.contract import failures, json_text
from millrace.contract.errors import RuleError
from millrace.rules import gate, store
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

EXAMPLES = 20
VALUE_SHOWN = 200
"""Characters of an offending value that are shown."""


@dataclass(frozen=True)
class Trial:
    """What a rule would have hit in a stretch of time."""

    judged: int
    hits: int
    examples: list[dict[str, Any]]


def dry_run(
    client: Client,
    rules: list[Rule],
    rule: Rule,
    around: Surroundings,
    source_id: str,
    start: datetime,
    end: datetime,
) -> Trial:
    """Count what ``rule`` would have hit among messages that the other rules let pass.

    Reads ``raw_events`` from ``start`` to ``end`` (by arrival), so it reaches back as far as those
    are kept. Raises ``RuleError`` when the rule is no validation.
    """
    if rule.rule_type != "validation":
        raise RuleError(f"rule {rule.name}: only a validation can be tried on the past")
    others = [other for other in rules if other.name != rule.name and other.mode != "shadow"]
    gate = compile_gate([*others, replace(rule, mode="warn")], around)
    statement = gate.statement(f"({_received()})", claimed_at="ingested_at")
    bounds = {"source_id": source_id, "start": start, "end": end}
    query = sql.render("clickhouse/rules/dry_run.sql", statement=statement)
    judged, hits, examples = client.query(
        query, parameters={**bounds, "rule": rule.name, "examples": EXAMPLES}
    ).result_rows[0]
    made = [dict(zip(_EXAMPLE, one, strict=True)) for one in examples]
    received = _values(client, bounds, made)
    return Trial(judged, hits, [one | received.get(_place(one), {}) for one in made])


_EXAMPLE = ("topic", "partition", "offset", "event_type", "user_id", "failure")


def _place(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["topic"], one["partition"], one["offset"]


def _values(
    client: Client, bounds: dict[str, Any], examples: list[dict[str, Any]]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return by place the field that each example failed for, and what was received in it.

    The value is that of the message, before any transformation, cut; None where it has none.
    """
    if not examples:
        return {}
    fields = {_place(one): failures.parse(one["failure"]).field for one in examples}
    rows = client.query(
        sql.render("clickhouse/rules/trial_messages.sql"),
        parameters={**bounds, "positions": list(fields)},
    ).result_rows
    found = {}
    for *place, message in rows:
        field = fields[tuple(place)]
        text = message.decode(errors="replace") if isinstance(message, bytes) else message
        value = _value(text, field)
        found[tuple(place)] = {
            "field": field,
            "value": None if value is None else str(value)[:VALUE_SHOWN],
        }
    return found


def _value(message: str, field: str) -> Any:
    """Return the value of a message's field, of its own or among its properties."""
    try:
        row = json_text.read(message)
    except (ValueError, RecursionError):
        return None  # what can't be read has no field
    nested = row.get("properties")
    return row.get(field, nested.get(field) if isinstance(nested, dict) else None)


def of_last_hours(
    settings: Settings, rule: Rule, source_id: str, hours: float, *, most_seconds: int = 0
) -> Trial:
    """Count what ``rule``, saved or not, would have hit among a source's messages of late.

    The rules in force are those of the source. The count may take ``most_seconds``; 0: any time.
    Raises ``RuleError``, also where so many hours are none, and
    ``clickhouse_connect.driver.exceptions.DatabaseError`` when it takes longer.
    """
    now = datetime.now(UTC)
    try:
        start = now - timedelta(hours=hours)
    except (OverflowError, ValueError):
        raise RuleError(f"hours: {hours:g} is no number of hours") from None
    with (
        clickhouse.connect(settings, "loader") as client,
        postgres.connect(settings) as connection,
    ):
        if most_seconds:
            client.set_client_setting("max_execution_time", most_seconds)
        rules = store.rules_of(connection, source_id)
        around = gate.surroundings(connection, settings, source_id)
        return dry_run(client, rules, rule, around, source_id, start, now)


def _received() -> str:
    return sql.render("clickhouse/rules/received.sql")


def shadow_hits(
    client: Client,
    rules: list[Rule],
    around: Surroundings,
    source_id: str,
    start: datetime,
    end: datetime,
) -> dict[str, Trial]:
    """Count what each shadow rule would have hit in a window."""
    return {
        rule.name: dry_run(client, rules, rule, around, source_id, start, end)
        for rule in rules
        if rule.mode == "shadow" and rule.rule_type == "validation"
    }
