"""Rules in PostgreSQL, tried on the warehouse, compiled in the transaction that changes them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from millrace.contract.errors import RuleError
from millrace.rules import gate, store
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres


@pytest.fixture
def connection(settings: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(settings) as opened:
        store.seed(opened, settings)
        # Other tests leave sources of their own behind, and `events` switched off.
        opened.execute("UPDATE data_sources SET is_active = (source_id = 'events')")
        gate.compile_all(opened, settings)
        yield opened


def test_seeding_again_changes_nothing(connection, settings):
    before = gate.current_gate(connection, "events")
    assert set(store.seed(connection, settings).values()) == {0}
    assert (
        gate.compile_all(connection, settings)[0]
        == before
        == gate.current_gate(connection, "events")
    )


def test_a_change_is_in_force_at_once_and_audited(connection, settings):
    before = gate.current_gate(connection, "events")
    begun = connection.execute("SELECT coalesce(max(audit_id), 0) AS id FROM audit_logs").fetchone()
    rule = Rule("sku_there", "validation", {"check": "required", "field": "sku"})
    with store.change(connection, "ann"):
        store.put_rule(connection, rule)
        gate.compile_all(connection, settings)
    assert "sku_there" in gate.current_gate(connection, "events").statement
    with store.change(connection, "ann"):
        store.remove_rule(connection, "sku_there")
        gate.compile_all(connection, settings)
    assert gate.current_gate(connection, "events") == before
    actions = connection.execute(
        "SELECT action, changed_by FROM audit_logs WHERE row_key = 'sku_there' AND audit_id > %s "
        "ORDER BY audit_id",
        [begun["id"]],
    ).fetchall()
    assert [(row["action"], row["changed_by"]) for row in actions] == [
        ("INSERT", "ann"),
        ("DELETE", "ann"),
    ]


def test_a_rule_that_the_engine_refuses_leaves_no_trace(connection, settings):
    before = gate.current_gate(connection, "events")
    bad = Rule("bad_pattern", "validation", {"check": "pattern", "field": "a", "pattern": "(?=x)"})

    def add() -> None:
        with store.change(connection):
            store.put_rule(connection, bad)
            gate.compile_all(connection, settings)

    with pytest.raises(RuleError, match=r"bad_pattern: config\.pattern"):
        add()
    assert gate.current_gate(connection, "events") == before
    assert "bad_pattern" not in {rule.name for rule, _ in store.all_rules(connection)}


def test_a_new_event_type_changes_the_gate(connection, settings):
    with store.change(connection):
        store.register_event_type(connection, "wave", "A hand was waved.")
        gate.compile_all(connection, settings)
    assert "'wave'" in gate.current_gate(connection, "events").statement


def test_an_aggregation_is_a_metric_over_accepted_events(connection, settings):
    source = f"sums_{uuid.uuid4().hex[:6]}"
    connection.execute(
        "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic, is_active) "
        "VALUES (%s, 'a test''s own', %s, 'events.dead_letter', false)",
        [source, source],
    )
    config = {
        "aggregate": "sum",
        "field": "amount",
        "by": ["country", "sku"],
        "where": {"field": "amount", "op": "greater", "value": 1},
        "window_minutes": 5,
        "unit": "EUR",
    }
    rule = Rule("revenue_by_sku", "aggregation", config, source_id=source, event_type="purchase")
    at = datetime.now(UTC).replace(minute=32, second=0, microsecond=0)
    sold = (("10.5", "a"), ("2", "a"), ("1", "a"), ("x", "b"), ("7", "b"))
    rows = [
        [uuid.uuid4(), at, "purchase", 1, "DE", {"amount": amount, "sku": sku}, source]
        for amount, sku in sold
    ]
    rows.append([uuid.uuid4(), at, "click", 1, "DE", {"amount": "50", "sku": "a"}, source])
    client = clickhouse.connect(settings)
    names = "event_id event_time event_type user_id country properties source_id"
    client.insert("events", rows, column_names=names.split())

    def numbers() -> list[tuple]:
        return client.query(
            "SELECT timestamp, value, dimensions FROM rule_metrics "
            "WHERE metric_name = 'revenue_by_sku' ORDER BY value"
        ).result_rows

    with store.change(connection):
        store.put_rule(connection, rule)
        gate.compile_all(connection, settings)
    window = at.replace(minute=30, tzinfo=None)
    found = [(start.replace(tzinfo=None), value, of) for start, value, of in numbers()]
    assert found == [
        (window, 7, {"country": "DE", "sku": "b"}),
        (window, 12.5, {"country": "DE", "sku": "a"}),
    ]
    meaning = client.query(
        "SELECT unit, kind, dimensions, grain_seconds FROM rule_metric_definitions "
        "WHERE metric_name = 'revenue_by_sku'"
    ).result_rows
    assert meaning == [("EUR", "sum", ["country", "sku"], 300)]

    bad = Rule("bad_sum", "aggregation", config | {"where": {"field": "a", "op": "matches"}})
    with pytest.raises(RuleError, match=r"bad_sum: config\.where"), store.change(connection):
        store.put_rule(connection, bad)
    with store.change(connection):
        store.remove_rule(connection, "revenue_by_sku")
        gate.compile_all(connection, settings)
    assert numbers() == []
