"""Rules in PostgreSQL, tried on the warehouse, compiled in the transaction that changes them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from millrace.rules import gate, store
from millrace.rules.model import Rule, RuleError
from millrace.settings import Settings
from millrace.stores import postgres


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
        "SELECT action, changed_by FROM audit_logs WHERE row_key = 'sku_there' ORDER BY audit_id"
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
