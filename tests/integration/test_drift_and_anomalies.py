"""What is unusual: drifting schemas, outliers, silent series; judged on real servers."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.ingest_bed import Bed, event

from millrace.contract.errors import RuleError
from millrace.rules import baselines, drift, gate, store
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

OFTEN = 20
"""A look takes the types that are most frequent, also of what other tests have left."""


@pytest.fixture
def bed(settings: Settings) -> Bed:
    return Bed(settings)


def write_events(settings: Settings, rows: list[dict[str, Any]]) -> None:
    client = clickhouse.connect(settings)
    columns = list(rows[0])
    client.insert("events", [list(row.values()) for row in rows], column_names=columns)
    client.close()


def past(event_type: str, at: datetime, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": uuid.uuid4(),
        "event_time": at,
        "event_type": event_type,
        "user_id": 1,
        "received_at": at,
        "ingested_at": at,
        "source_id": "past",
    } | fields


def test_new_fields_and_types_are_noticed_and_registered(bed: Bed, settings: Settings):
    name = f"drifting_{uuid.uuid4().hex[:6]}"
    with postgres.connect(settings) as connection:
        with store.change(connection):
            store.register_event_type(connection, name, "A test's own.")
            gate.compile_all(connection, settings)

        def kinds() -> set[tuple[str, str, str]]:
            return {
                (row["kind"], row["field"], row["value_type"])
                for row in drift.open_drifts(connection)
                if row["event_type"] in (name, f"{name}_2")
            }

        def look() -> None:
            bed.load()
            drift.record(settings, datetime.now(UTC) + timedelta(seconds=1))

        bed.send([event(1, event=name, sku="a")])
        look()
        assert kinds() == set()
        unknown = [event(1, event=f"{name}_2") for _ in range(OFTEN)]
        bed.send([event(1, event=name, sku=5, color="red"), *unknown])
        look()
        assert kinds() == {
            ("new_field", "color", "string"),
            ("type_change", "sku", "number"),
            ("new_event_type", "", ""),
        }
        for row in drift.open_drifts(connection):
            if row["event_type"] in (name, f"{name}_2"):
                with store.change(connection):
                    drift.register(connection, row["drift_id"])
                    gate.compile_all(connection, settings)
        bed.send([event(1, event=f"{name}_2")])
        look()
        assert kinds() == set()
    assert bed.reasons() == {"unknown_event_type": OFTEN}


def test_names_and_values_that_can_not_be_stored_stop_nothing(bed: Bed, settings: Settings):
    name = f"drifting_{uuid.uuid4().hex[:6]}"
    long = "n" * 9_000
    with postgres.connect(settings) as connection:
        with store.change(connection):
            store.register_event_type(connection, name, "A test's own.")
            gate.compile_all(connection, settings)
        bed.send([event(1, event=name)])
        bed.load()
        drift.record(settings, datetime.now(UTC) + timedelta(seconds=1))
        connection.execute(
            "INSERT INTO event_fields (event_type, field, value_type) "
            "VALUES (%s, 'known', 'number')",
            [name],
        )
        half = json.dumps(event(1, event=name)).encode()[:-1] + b',"cut":"\\ud83d"}'
        odd = [
            {"event": name, "note": "a\0b", "harmless": "x"},
            {"event": name, "odd\0name": 1, f"{long}1": 1, f"{long}2": 2},
            {"event": f"{name}\0type"},
            {"event": f"{name}{long}"},
        ]
        bed.send([half, *(event(1, **fields) for fields in odd for _ in range(OFTEN))])
        bed.load()
        drift.record(settings, datetime.now(UTC) + timedelta(seconds=1))
        seen = [row for row in drift.open_drifts(connection) if row["event_type"].startswith(name)]
        fields = {row["field"]: row for row in seen if row["kind"] == "new_field"}
        cut = sorted(field for field in fields if field.startswith("nnn"))
        assert set(fields) == {"note", "harmless", "odd\ufffdname", *cut}
        assert [len(field) for field in cut] == [200, 200]
        assert fields["note"]["examples"] == ["a\ufffdb"]
        types = {row["event_type"]: row for row in seen if row["kind"] == "new_event_type"}
        assert f"{name}\ufffdtype" in types
        assert sorted(len(other) for other in types) == [len(name) + 5, 200]
        for row in types.values():
            with pytest.raises(RuleError, match="can't be registered"), store.change(connection):
                drift.register(connection, row["drift_id"])
    assert bed.reasons() == {"malformed_json": 1, "unknown_event_type": 2 * OFTEN}


def test_an_outlier_is_quarantined_by_the_hour_of_week(bed: Bed, settings: Settings):
    now = datetime.now(UTC)
    moment = now.isoformat()
    write_events(
        settings,
        [
            past("purchase", now - timedelta(weeks=week), properties={"price": str(100 + n % 7)})
            for week in (1, 2, 3)
            for n in range(20)
        ],
    )
    rule = Rule(
        "usual_price", "validation", {"check": "outlier", "field": "price"} | {"deviations": 6}
    )
    with postgres.connect(settings) as connection:
        with store.change(connection):
            store.put_rule(connection, rule)
        assert baselines.refresh(settings) == ["usual_price"]
        assert baselines.refresh(settings, older_than=timedelta(hours=1)) == []
        with store.change(connection):
            gate.compile_all(connection, settings)
        prices = (103, 115, 500, 1)
        bed.send([event(1, event="purchase", price=p, timestamp=moment) for p in prices])
        bed.send([event(1, event="click", price=500, timestamp=moment)])
        bed.load()
        with store.change(connection):
            store.remove_rule(connection, "usual_price")
            gate.compile_all(connection, settings)
    assert bed.reasons() == {"anomalous": 2}


def test_a_user_who_sends_unusually_much_is_held(bed: Bed, settings: Settings):
    noon = datetime.now(UTC).replace(minute=20, second=0, microsecond=0) - timedelta(hours=1)
    robot, partner = 666, 7
    usual = [
        past("click", noon - timedelta(weeks=week), user_id=user, source_id=bed.name)
        for week in (1, 2, 3)
        for user in range(100, 130)
        for _ in range(2 + user % 3)
    ]
    # A partner's server sends a lot, and always did.
    usual += [
        past(
            "click",
            noon - timedelta(weeks=week, minutes=5 * slot),
            user_id=partner,
            source_id=bed.name,
        )
        for week in (1, 2, 3)
        for slot in range(4)
        for _ in range(300)
    ]
    recent = [
        past("click", noon, user_id=user, source_id=bed.name)
        for user, count in ((robot, 250), (partner, 310), (101, 4))
        for _ in range(count)
    ]
    write_events(settings, usual + recent)
    rule = Rule(
        "steady_users",
        "validation",
        {"check": "user_rate", "deviations": 8, "hold_minutes": 1},
        source_id=bed.name,
    )
    closed = noon + timedelta(minutes=5, seconds=30)
    client = clickhouse.connect(settings)
    with postgres.connect(settings) as connection:
        with store.change(connection):
            store.put_rule(connection, rule)
        assert "steady_users" in baselines.refresh(settings, closed, older_than=timedelta(days=1))
        baselines.refresh(settings, closed, older_than=timedelta(days=1))  # again: the same
        found = client.query(
            "SELECT dimension, value, expected FROM quality_anomalies FINAL "
            "WHERE kind = 'user_rate' AND window_start = {at:DateTime('UTC')}",
            parameters={"at": noon},
        ).result_rows
        assert found == [(f"user_id={robot}", 250, 3)]
        with store.change(connection):
            gate.compile_all(connection, settings)
        # The hold ended long before these messages reached Kafka.
        bed.send([event(robot), event(partner), event(101)])
        bed.load()
        assert bed.reasons() == {}
        with store.change(connection):
            longer = rule.as_json() | {"config": {**rule.config, "hold_minutes": 1_440}}
            store.put_rule(connection, Rule(**longer))
        baselines.refresh(settings, closed, older_than=timedelta(days=1))
        with store.change(connection):
            gate.compile_all(connection, settings)
        bed.send([event(robot), event(partner), event(101)])
        bed.load()
        with store.change(connection):
            store.remove_rule(connection, "steady_users")
            gate.compile_all(connection, settings)
    assert bed.reasons() == {"anomalous": 1}
    (failures,) = bed.query("SELECT failures FROM rejected_events WHERE source_id = {source}")[0]
    assert failures == ["anomalous|user_id|steady_users"]
