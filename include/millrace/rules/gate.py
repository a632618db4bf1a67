"""Gates: the statement a micro-batch goes through, compiled from the rules and kept by version.

A micro-batch names its gate in the ingest ledger, so that a replay of its offsets is judged by the
same statement, whatever the rules have become.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.contract import locks, sources
from millrace.contract.errors import RuleError
from millrace.contract.gate import Gate
from millrace.rules import aggregations, store
from millrace.rules import compiler as rule_compiler
from millrace.rules.checks import Surroundings
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, sql
from millrace.stores.errors import first_line
from millrace.stores.quoting import literal

Connection = psycopg.Connection[DictRow]


class Engine(Protocol):
    """What a gate is tried on: a ClickHouse client."""

    def command(self, cmd: str, /) -> Any:
        """Run a statement."""


@dataclass(frozen=True)
class KeptGate:
    """A compiled gate as kept in ``gates``; ``statement`` is what micro-batches run."""

    gate_id: int
    source_id: str
    statement: str
    fingerprint: str
    gate: Gate


def surroundings(connection: Connection, settings: Settings, source_id: str) -> Surroundings:
    """Return what a source's gate is compiled with besides its rules.

    Raises ``RuleError`` when the source is not in ``data_sources``.
    """
    source = sources.find(connection, source_id)
    if source is None:
        raise RuleError(f"source {source_id!r} is not in data_sources; register it first")
    found = connection.execute(
        "SELECT event_type FROM event_types WHERE is_active ORDER BY event_type"
    ).fetchall()
    usual = connection.execute("SELECT rule_name, baselines FROM rule_baselines").fetchall()
    return Surroundings(
        event_types=tuple(row["event_type"] for row in found),
        message_max_bytes=settings.message_max_bytes,
        events_retention_days=settings.events_retention_days,
        field_names=source.field_names,
        baselines={row["rule_name"]: row["baselines"] for row in usual},
    )


def compile_gate(
    connection: Connection, settings: Settings, source_id: str, engine: Engine | None = None
) -> KeptGate:
    """Compile a source's active rules, try the statement, keep it and make it the current gate.

    Nothing is written, and the engine is not asked, while the current gate already is what the
    rules say. ``engine`` is a ClickHouse client to try the statement on; without one a connection
    is opened. Raises ``RuleError`` when the rules make no statement that runs; the gate in force
    stays.
    """
    with connection.transaction():
        locks.until_commit(connection, locks.GATES)
        rules = store.rules_of(connection, source_id)
        around = surroundings(connection, settings, source_id)
        compiled = rule_compiler.compile_gate(rules, around)
        statement, mark = compiled.statement(), compiled.fingerprint
        current = current_gate(connection, source_id)
        if current is not None and current.fingerprint == mark:
            return current
        try_rules(engine or clickhouse.connect(settings, "loader"), rules, around)
        kept = [rule.as_json() for rule in rules]
        row = connection.execute(
            sql.render("postgres/rules/keep_gate.sql"),
            {
                "source_id": source_id,
                "statement": statement,
                "fingerprint": mark,
                "definition": Jsonb(compiled.as_json()),
                "rules": Jsonb({"rules": kept, "event_types": list(around.event_types)}),
            },
        ).fetchone()
    if row is None:
        raise RuleError(f"the gate of {source_id!r} could not be kept")
    return KeptGate(row["gate_id"], source_id, statement, mark, compiled)


def current_gate(connection: Connection, source_id: str) -> KeptGate | None:
    """Return the gate in force for a source, if one was compiled by this version or a later one."""
    row = connection.execute(
        sql.render("postgres/contract/current_gate.sql"), {"source_id": source_id}
    ).fetchone()
    if row is None:
        return None
    definition = row.pop("definition")
    return KeptGate(**row, gate=Gate.from_json(definition))


def compile_all(
    connection: Connection, settings: Settings, engine: Engine | None = None
) -> list[KeptGate]:
    """Compile the gate of every active source, and the metrics of the aggregation rules.

    Cheap where nothing changed. Raises ``RuleError`` when the rules make no statement that runs;
    all stays as it was then, provided that the caller's transaction is rolled back.
    """
    gates = [
        compile_gate(connection, settings, source.source_id, engine)
        for source in sources.active(connection)
    ]
    with clickhouse.connect(settings, "loader") as client:
        rules = [rule for rule, active in store.all_rules(connection) if active]
        aggregations.publish(client, settings, rules)
    return gates


def try_rules(engine: Engine, rules: list[Rule], around: Surroundings) -> None:
    """Run the rules on sample messages, and where that fails find the rule at fault.

    Raises ``RuleError`` naming it.
    """
    failed = _trial(engine, rules, around)
    if failed is None:
        return
    for rule in rules:
        alone = _trial(engine, [rule], around)
        if alone is not None:
            place = "config.pattern" if "pattern" in rule.config else "config"
            raise RuleError(f"rule {rule.name}: {place}: ClickHouse refuses it: {alone}")
    raise RuleError(f"the rules do not run together: {failed}")


def _trial(engine: Engine, rules: list[Rule], around: Surroundings) -> str | None:
    """Return what ClickHouse says against the rules, or nothing where they run."""
    samples = sql.render("clickhouse/rules/sample_messages.sql")
    for pattern in _patterns([rule.config for rule in rules]):
        failed = _attempt(engine, f"SELECT match(materialize('x'), {pattern})")
        if failed:
            return failed
    statement = rule_compiler.compile_gate(rules, around).statement(
        f"(\n{samples}\n)", claimed_at="kafka_timestamp"
    )
    return _attempt(engine, f"SELECT sum(cityHash64(*)) FROM (\n{statement}\n)")  # noqa: S608


def _attempt(engine: Engine, statement: str) -> str | None:
    """Run a statement; return the first line of the engine's complaint, if it has one."""
    try:
        engine.command(statement)
    # Whatever driver stands behind the engine, its complaint is the answer wanted here.
    except Exception as error:  # noqa: BLE001
        return first_line(error, 500)
    return None


def _patterns(value: Any) -> list[str]:
    """Return every pattern anywhere in a config, as literals."""
    if isinstance(value, list):
        return [found for item in value for found in _patterns(item)]
    if isinstance(value, dict):
        own = [literal(value["pattern"])] if isinstance(value.get("pattern"), str) else []
        return own + [found for item in value.values() for found in _patterns(item)]
    return []
