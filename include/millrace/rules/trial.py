"""Trials: what a rule or a gate would say of messages that are already here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from millrace.contract.errors import RuleError
from millrace.rules.checks import Surroundings
from millrace.rules.compiler import compile_gate
from millrace.rules.model import Rule
from millrace.stores import sql

EXAMPLES = 20


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
    return Trial(judged, hits, [dict(zip(_EXAMPLE, one, strict=True)) for one in examples])


_EXAMPLE = ("topic", "partition", "offset", "event_type", "user_id", "failure")


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
