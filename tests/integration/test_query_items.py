"""What there is and how it is, as the query API lists it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from tests.helpers import wait
from tests.integration.ingest_bed import Bed, event

from millrace.access import tokens
from millrace.backups import metrics as backups
from millrace.settings import Settings
from millrace.stores import postgres

Clients = Mapping[str, httpx.Client]


@pytest.fixture(scope="module")
def bed(settings: Settings) -> Bed:
    made = Bed(settings, partitions=1)
    made.send([event(), event(), b"garbage"])
    made.load()
    return made


@pytest.fixture(scope="module")
def narrow(query_clients: Clients, settings: Settings) -> Iterator[httpx.Client]:
    """A viewer who may see neither the bed's source nor any dataset but one."""
    new = tokens.NewToken("items-narrow", "viewer", sources=["elsewhere"], datasets=["sessions"])
    with postgres.connect(settings) as connection:
        text = tokens.add(connection, new)
    headers = {"Authorization": f"Bearer {text}"}
    with httpx.Client(base_url=query_clients["none"].base_url, headers=headers) as client:
        wait.until(lambda: client.get("/v1/me").is_success)
        yield client


def ask(client: httpx.Client, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_it_lists_what_there_is_with_its_freshness(bed: Bed, query_clients: Clients) -> None:
    viewer = query_clients["viewer"]

    def source() -> dict[str, Any] | None:
        rows = {one["name"]: one for one in ask(viewer, "/v1/items")["sources"]}
        return rows[bed.name] if rows[bed.name]["fresh_until"] else None

    found = wait.until(source)
    assert (found["topic"], found["owner"], found["is_active"]) == (
        bed.name,
        "data-engineering",
        True,
    )
    items = ask(viewer, "/v1/items")
    types = {one["name"]: one for one in items["event_types"]}
    assert types["page_view"]["is_active"]
    assert types["page_view"]["description"]
    events = next(one for one in items["datasets"] if one["name"] == "events")
    assert (events["windows"], events["is_published"]) == (["5m", "1h", "1d"], True)
    assert events["relation"] == "millrace.events"
    assert events["description"]


def test_a_viewer_of_some_sources_and_datasets_sees_those(bed: Bed, narrow: httpx.Client) -> None:
    items = ask(narrow, "/v1/items")
    assert items["sources"] == []
    assert [one["name"] for one in items["datasets"]] == ["sessions"]
    stats = ask(narrow, "/v1/stats")
    assert (stats["sources"], stats["firing"], stats["events_today"]) == ([], [], None)


def test_it_tells_how_the_pipeline_is(bed: Bed, settings: Settings, query_clients: Clients) -> None:
    backups.succeeded(settings, "warehouse")
    backups.drilled(settings, {"warehouse": True})
    bed.ask(
        "INSERT INTO restore_drills (ended_at, state, rto_seconds) VALUES (now(), 'passed', 12.5)"
    )
    bed.ask(
        "INSERT INTO alert_rules (name, expression, severity, owner, runbook, routes) "
        "VALUES ('test_of_items', 'up > 0', 'warning', 'ana', '', '{}')"
    )
    bed.ask(
        "INSERT INTO alert_instances (rule_name, kind, fingerprint, labels, state, active_since, "
        "fired_at) VALUES ('test_of_items', 'condition', '1', '{}', 'firing', now(), now())"
    )
    try:
        found = ask(query_clients["viewer"], "/v1/stats")
    finally:
        bed.ask("DELETE FROM alert_instances WHERE rule_name = 'test_of_items'")
        bed.ask("DELETE FROM alert_rules WHERE name = 'test_of_items'")
    (mine,) = [one for one in found["sources"] if one["source"] == bed.name]
    assert mine["lag_messages"] == 0
    assert mine["rejected_share"] == pytest.approx(1 / 3)
    assert mine["events_per_second"] == pytest.approx(2 / 300)
    assert found["events_today"] >= 2
    assert found["rejected_today"] >= 1
    assert 0 <= found["backup_age_seconds"]["warehouse"] < 600
    assert (found["last_drill"]["state"], found["last_drill"]["rto_seconds"]) == ("passed", 12.5)
    alert = next(one for one in found["firing"] if one["rule"] == "test_of_items")
    assert (alert["alerts"], alert["severity"], alert["owner"]) == (1, "warning", "ana")


def test_strangers_are_told_nothing(query_clients: Clients) -> None:
    for path in ("/v1/items", "/v1/stats"):
        assert query_clients["none"].get(path).status_code == 401
