"""People, sessions and events, one at a time: kept until rows of theirs change, and no longer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from clickhouse_connect.driver.client import Client
from tests.helpers.wait import until

from millrace.access import tokens
from millrace.api.query.cache.entries import digest
from millrace.contract import people
from millrace.settings import Settings
from millrace.stores import cache, clickhouse, postgres, sql

Clients = Mapping[str, httpx.Client]

SOURCES = ("hot_web", "hot_app")
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[Client]:
    """ClickHouse, in which events and sessions of these tests do not stay."""
    client = clickhouse.connect(settings)
    made = []
    client.command("CREATE DATABASE IF NOT EXISTS analytics")
    if not client.query("EXISTS analytics.int_session_versions").result_rows[0][0]:
        made = ["TABLE analytics.int_session_versions SYNC", "VIEW analytics.sessions"]
        client.command(
            "CREATE TABLE analytics.int_session_versions (user_id UInt64, "
            "started_at DateTime64(3, 'UTC'), ended_at DateTime64(3, 'UTC'), events UInt64, "
            "page_views UInt64, entry_page String, exit_page String, country String, "
            "device String) ENGINE = MergeTree PARTITION BY toDate(started_at) "
            "ORDER BY (user_id, started_at)"
        )
        client.command(
            "CREATE VIEW analytics.sessions AS SELECT *, 60. AS duration_seconds, "
            "lower(hex(sipHash128(user_id, started_at))) AS session_id, "
            "toBool(page_views <= 1) AS is_bounce FROM analytics.int_session_versions"
        )
    yield client
    for what in made:
        client.command(f"DROP {what}")
    client.command(f"DELETE FROM events WHERE source_id IN {SOURCES}")


def happened(
    client: Client,
    user_id: int,
    minute: int = 0,
    source: str = SOURCES[0],
    offset: int = 0,
    begin: datetime = START,
) -> str:
    """Have an event happen; its id."""
    event_id, moment = uuid.uuid4(), begin + timedelta(minutes=minute)
    row = {
        "event_id": event_id,
        "event_time": moment,
        "event_type": "page_view",
        "user_id": user_id,
        "page": f"/{minute}",
        "country": "DE",
        "device": "mobile",
        "properties": {"minute": str(minute)},
        "received_at": moment,
        "ingested_at": moment,
        "source_id": source,
        "offset": offset,
    }
    client.insert("events", [list(row.values())], column_names=list(row))
    return str(event_id)


def activity(client: httpx.Client, name: object) -> dict[str, Any]:
    """A person's activity; nothing if there is none."""
    answer = client.get(f"/v1/users/{name}/activity")
    if answer.status_code == 404:
        return {}
    return {**answer.raise_for_status().json(), "layer": answer.headers["x-cache"]}


def test_activity_is_kept_until_the_person_does_something(
    query_clients: Clients, warehouse: Client, settings: Settings
) -> None:
    analyst, ada, other = query_clients["analyst"], uuid.uuid4().hex, uuid.uuid4().int >> 70
    number = people.number_of(ada, settings.ingest_hash_key.get_secret_value().encode())
    assert activity(analyst, ada) == {}
    for minute in range(3):
        happened(warehouse, number, minute)
    seen = until(lambda: (found := activity(analyst, ada)).get("events") == 3 and found, 10)
    assert [event["page"] for event in seen["recent"]] == ["/2", "/1", "/0"]
    assert seen["user_id"] == number
    assert datetime.fromisoformat(seen["first_seen_at"]) == START
    assert sum(day["events"] for day in seen["days"]) == 3

    until(lambda: activity(analyst, ada)["layer"] == "process", 10)
    happened(warehouse, other)
    assert until(lambda: activity(analyst, other), 10)["events"] == 1
    assert activity(analyst, ada)["layer"] == "process", "another's event touches nobody else"
    happened(warehouse, number, 3)
    assert until(lambda: (found := activity(analyst, ada))["events"] == 4 and found, 10)


def test_what_was_erased_is_kept_nowhere(
    query_clients: Clients, warehouse: Client, settings: Settings
) -> None:
    analyst, person = query_clients["analyst"], uuid.uuid4().int >> 70
    event_id = happened(warehouse, person)
    until(lambda: activity(analyst, person).get("layer") == "process")
    assert analyst.get(f"/v1/events/{event_id}").json()["properties"] == {"minute": "0"}
    redis = cache.connect(settings)
    key, event_key = (
        f"millrace:answer:{digest(question)}"
        for question in (f"user:{person}:activity ", f"cache:event:{event_id}  ")
    )
    assert redis.exists(key)
    warehouse.command(f"DELETE FROM events WHERE user_id = {person}")
    until(lambda: not activity(analyst, person))
    until(lambda: analyst.get(f"/v1/events/{event_id}").status_code == 404)
    for kept in (key, event_key):
        until(lambda kept=kept: b"/0" not in (redis.get(kept) or b""))


def test_who_may_see_one_source_sees_nothing_of_another(
    query_clients: Clients, query_api: str, warehouse: Client, settings: Settings
) -> None:
    person = uuid.uuid4().int >> 70
    ours, theirs = (happened(warehouse, person, source=source) for source in SOURCES)
    with postgres.connect(settings) as connection:
        text = tokens.add(
            connection, tokens.NewToken(f"hot-{person}", "analyst", sources=[SOURCES[0]])
        )
    headers = {"Authorization": f"Bearer {text}"}
    with httpx.Client(base_url=query_api, headers=headers) as client:
        until(lambda: client.get("/v1/me").is_success, 10)
        until(lambda: activity(query_clients["analyst"], person).get("events") == 2, 10)
        assert activity(client, person)["events"] == 1
        assert activity(client, person)["sessions"] == []
        assert client.get(f"/v1/events/{ours}").status_code == 200
        assert client.get(f"/v1/events/{theirs}").status_code == 404
        assert client.get(f"/v1/sessions/{'0' * 32}").status_code == 403


def test_a_session_is_told_with_its_events(query_clients: Clients, warehouse: Client) -> None:
    analyst, person = query_clients["analyst"], uuid.uuid4().int >> 70
    for minute in (0, 1, 20):
        happened(warehouse, person, minute)
    columns = {"user_id": person, "started_at": START, "ended_at": START + timedelta(minutes=1)}
    columns |= {"events": 2, "page_views": 2, "entry_page": "/0", "exit_page": "/1"}
    warehouse.insert(
        "analytics.int_session_versions", [list(columns.values())], column_names=list(columns)
    )
    (listed,) = until(lambda: activity(analyst, person).get("sessions"), 10)
    told = analyst.get(f"/v1/sessions/{listed['session_id']}").raise_for_status().json()
    assert [event["page"] for event in told["timeline"]] == ["/0", "/1"]
    assert (told["user_id"], told["events"], told["is_bounce"]) == (person, 2, False)
    assert analyst.get(f"/v1/sessions/{'0' * 32}").json()["code"] == "not_found"
    for day, status in ((START.date(), 200), (START.date() - timedelta(days=1), 404)):
        found = analyst.get(f"/v1/sessions/{listed['session_id']}?day={day}")
        assert found.status_code == status


def test_an_event_that_nobody_knows_is_not_found(query_clients: Clients, warehouse: Client) -> None:
    analyst, event_id = query_clients["analyst"], happened(warehouse, 1)
    day = START.date()
    assert analyst.get(f"/v1/events/{event_id}?day={day}").json()["event_id"] == event_id
    wrong = day - timedelta(days=40)
    assert analyst.get(f"/v1/events/{event_id}?day={wrong}").status_code == 404
    assert analyst.get("/v1/events/none").status_code == 422


def test_an_event_is_looked_for_where_the_register_of_ids_has_it(
    query_clients: Clients, warehouse: Client
) -> None:
    """Without it every day that is kept is read."""
    analyst, days = query_clients["analyst"], [START - timedelta(days=days) for days in range(4)]
    ids = [happened(warehouse, 7, offset=90 + at, begin=day) for at, day in enumerate(days)]
    for at, shift in ((1, 0), (2, 5)):  # one is not where it is said to be
        hour = int(days[at].timestamp()) // 3600
        warehouse.command(
            f"INSERT INTO event_id_register SELECT sipHash64('events', toUUID('{ids[at]}')), "
            f"bitShiftLeft(1::UInt64, 56) + {90 + at + shift}, {hour}"
        )
    for event_id, day in zip(ids, days, strict=True):
        told = analyst.get(f"/v1/events/{event_id}").raise_for_status().json()
        assert datetime.fromisoformat(told["event_time"]) == day

    def parts_read(*, is_placed: bool) -> int:
        place = sql.render("clickhouse/query/hot/event_place.sql")
        where = warehouse.query(place, parameters={"event_id": ids[1]}).first_row
        values = {"event_id": ids[1], "is_all": True, "sources": [], "day": None}
        values |= dict(zip(("offset", "arrived_ms"), where, strict=True))
        statement = sql.render("clickhouse/query/hot/event.sql", is_placed=is_placed)
        plan = warehouse.query(f"EXPLAIN indexes = 1 {statement}", parameters=values).result_rows
        reads = [line.strip() for (line,) in plan if line.strip().startswith("Parts: ")]
        return int(reads[-1].removeprefix("Parts: ").partition("/")[0])

    assert parts_read(is_placed=True) == 1
    assert parts_read(is_placed=False) >= 4
    hashes = ", ".join(f"sipHash64('events', toUUID('{event_id}'))" for event_id in ids)
    warehouse.command(f"ALTER TABLE event_id_register DELETE WHERE event_hash IN ({hashes})")
