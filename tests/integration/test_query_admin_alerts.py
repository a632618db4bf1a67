"""Alert rules, silences, maintenance windows and exports, administered by HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.helpers.administration import audited, changed_once, deleted, refused, sent_at_once

from millrace.exports import definitions
from millrace.settings import Settings
from millrace.stores import postgres

Clients = Mapping[str, httpx.Client]


@pytest.fixture(scope="module")
def admin(query_clients: Clients) -> httpx.Client:
    return query_clients["admin"]


@pytest.fixture(scope="module")
def operator(query_clients: Clients) -> httpx.Client:
    return query_clients["operator"]


@pytest.fixture(scope="module")
def name() -> str:
    return f"adm{secrets.token_hex(4)}"


RULE = {
    "expression": "millrace_ingest_lag_seconds > 60",
    "for": "5m",
    "severity": "warning",
    "owner": "data-engineering",
    "runbook": "https://wiki.example/lag",
    "routes": [],
}

WINDOW = {
    "matchers": ['severity=~"info|warning"'],
    "starts_at": "2026-12-06T02:00:00+01:00",
    "minutes": 90,
}


def test_an_alert_rule_is_added_changed_switched_and_removed(
    admin: httpx.Client, name: str
) -> None:
    made = admin.post("/v1/alert-rules", json=RULE | {"name": name})
    assert made.status_code == 201, made.text
    assert (made.json()["for"], made.json()["is_built_in"]) == ("5m", False)
    address = made.headers["location"]
    assert changed_once(admin, address, RULE | {"for": 90}, "PUT").json()["for"] == "90s"
    assert changed_once(admin, address, {"enabled": False}).json()["enabled"] is False
    listed = admin.get("/v1/alert-rules", params={"limit": 1000}).json()["items"]
    (mine,) = [one for one in listed if one["name"] == name]
    assert (mine["state"], mine["alerts"]) == ("off", [])
    deleted(admin, address)
    actions = [(one["action"], one["changed_by"]) for one in audited(admin, "alert_rules", name)]
    assert [action for action, _ in actions] == ["INSERT", "UPDATE", "UPDATE", "DELETE"]
    assert {who for _, who in actions} == {"token:tests-admin"}


def test_an_alert_rule_is_tried_on_the_past(operator: httpx.Client, name: str) -> None:
    missing = "absent_over_time(millrace_no_such_metric_seconds[5m]) > 0"
    body = {"rule": RULE | {"name": name, "expression": missing, "for": "2m"}, "hours": 1}
    found = operator.post("/v1/alert-rules/dry-run", json=body)
    assert found.status_code == 200, found.text
    trial = found.json()
    assert (trial["minutes"], trial["minutes_active"], trial["fired"]) == (61, 61, 1)
    states = [(one["from_state"], one["to_state"]) for one in trial["transitions"]]
    assert states == [("inactive", "pending"), ("pending", "firing")]
    unknown = operator.post("/v1/alert-rules/dry-run", json={"rule": f"{name}_none"})
    assert unknown.status_code == 404


def test_a_channel_is_made_changed_and_switched_off(admin: httpx.Client, name: str) -> None:
    body = {"name": name, "kind": "slack", "config": {"channel": "#shop"}, "is_active": False}
    made = admin.post("/v1/alert-routes", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["connection_id"], made.json()["is_active"]) == ("slack_alerts", False)
    changed = changed_once(admin, made.headers["location"], {"config": {"channel": "#ops"}})
    assert changed.json()["config"] == {"channel": "#ops"}
    refused(admin.post("/v1/alert-routes", json=body), 409, "/body/name")
    body |= {"name": f"{name}_bad", "config": {}}
    assert admin.post("/v1/alert-routes", json=body).status_code == 422
    actions = [one["action"] for one in audited(admin, "alert_routes", name)]
    assert actions == ["INSERT", "UPDATE"]


def test_a_built_in_alert_rule_is_switched_off_and_not_removed(admin: httpx.Client) -> None:
    listed = admin.get("/v1/alert-rules", params={"limit": 1000}).json()["items"]
    address = next(f"/v1/alert-rules/{one['name']}" for one in listed if one["is_built_in"])
    tag = {"If-Match": admin.get(address).headers["etag"]}
    refusal = admin.delete(address, headers=tag)
    assert (refusal.status_code, refusal.json()["code"]) == (409, "built_in")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"expression": "sum("}, "/body/expression"),
        ({"expression": "a offset nan"}, "/body/expression"),
        ({"for": "5 minutes"}, "/body/for"),
        ({"for": -1}, "/body/for"),
        ({"severity": "bad"}, "/body/severity"),
        ({"runbook": "docs/runbooks/none.md"}, "/body/runbook"),
        ({"runbook": "\N{GRINNING FACE}" * 200}, "/body/runbook"),
        ({"expression": "(" * 3000 + "a" + ")" * 3000}, "/body/expression"),
        ({"routes": ["nowhere"]}, "/body/routes"),
        ({"labels": {"alertname": "x"}}, "/body/labels"),
        ({"annotations": {"summary": "{{ nothing"}}, "/body/annotations/summary"),
        ({"name": "With Space"}, "/body/name"),
    ],
)
def test_an_alert_rule_that_can_not_be_is_refused_by_its_field(
    admin: httpx.Client, name: str, change: dict[str, Any], pointer: str
) -> None:
    body = RULE | {"name": f"{name}_bad"} | change
    refused(admin.post("/v1/alert-rules", json=body), 422, pointer)


def test_an_operator_silences_alerts_and_ends_it(
    query_clients: Clients, operator: httpx.Client, admin: httpx.Client
) -> None:
    body = {
        "matchers": ['severity="warning"'],
        "ends_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "comment": "We know",
    }
    assert query_clients["analyst"].post("/v1/silences", json=body).status_code == 403
    made = operator.post("/v1/silences", json=body)
    assert made.status_code == 201, made.text
    silence = made.json()
    assert (silence["author"], silence["comment"]) == ("token:tests-operator", "We know")
    listed = operator.get("/v1/silences", params={"limit": 1000}).json()["items"]
    assert silence in listed
    address = made.headers["location"]
    deleted(operator, address)
    ended = datetime.fromisoformat(operator.get(address).json()["ends_at"])
    assert ended < datetime.fromisoformat(silence["ends_at"])
    added, changed = audited(admin, "alert_silences", str(silence["silence_id"]))
    assert (added["action"], changed["changed"]) == ("INSERT", ["ends_at"])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"matchers": ["severity="]}, "/body/matchers"),
        ({"matchers": ['no_such_label="x"']}, "/body/matchers"),
        ({"matchers": []}, "/body/matchers"),
        ({"ends_at": "2001-01-01T00:00:00Z"}, "/body/ends_at"),
        ({"ends_at": "9999-12-31T23:59:59-12:00"}, "/body/ends_at"),
        ({"ends_at": "2100-01-01T00:00:00Z"}, "/body/ends_at"),
        ({"comment": " "}, "/body/comment"),
    ],
)
def test_a_silence_that_can_not_be_is_refused_by_its_field(
    operator: httpx.Client, change: dict[str, Any], pointer: str
) -> None:
    ends_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"matchers": ['severity="info"'], "ends_at": ends_at, "comment": "x"} | change
    refused(operator.post("/v1/silences", json=body), 422, pointer)


def test_a_maintenance_window_is_planned_changed_and_removed(
    operator: httpx.Client, admin: httpx.Client, name: str
) -> None:
    body = WINDOW | {"every": "week"}
    made = operator.post("/v1/maintenance-windows", json=body | {"name": name})
    assert made.status_code == 201, made.text
    assert (made.json()["starts_at"], made.json()["minutes"]) == ("2026-12-06T01:00:00Z", 90)
    address = made.headers["location"]
    changed = changed_once(operator, address, body | {"every": "day"}, "PUT")
    assert changed.json()["every"] == "day"
    refused(operator.post("/v1/maintenance-windows", json=body | {"name": name}), 409, "/body/name")
    deleted(operator, address)
    assert operator.get(address).status_code == 404
    table = "alert_maintenance_windows"
    assert [one["action"] for one in audited(admin, table, name)] == ["INSERT", "UPDATE", "DELETE"]


EXPORT = {
    "description": "Orders for the warehouse of the shop",
    "relation": "events",
    "columns": [{"name": "event_time"}, {"name": "page", "expression": "lower(source.page)"}],
    "time_column": "event_time",
    "order_by": ["event_time"],
    "schedule": "daily",
    "destination": "exports/shop",
}


def test_an_export_is_added_changed_switched_off_and_removed(
    admin: httpx.Client, operator: httpx.Client, name: str, settings: Settings
) -> None:
    made = admin.post("/v1/exports", json=EXPORT | {"name": name, "gate": "events"})
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    assert changed_once(admin, address, EXPORT, "PUT").json()["gate"] == ""
    assert changed_once(admin, address, {"is_active": False}).json()["is_active"] is False
    listed = operator.get("/v1/exports", params={"limit": 1000}).json()["items"]
    assert [one["not_out"] for one in listed if one["name"] == name] == [""]
    assert operator.get(f"{address}/runs").json() == {"items": [], "next": None}
    now = datetime.now(UTC)
    window = {"name": name, "start": now - timedelta(days=1), "end": now}
    with postgres.connect(settings) as connection:
        connection.execute(
            "WITH run AS (INSERT INTO export_runs (name, window_start, window_end, requested_by, "
            "state) VALUES (%(name)s, %(start)s, %(end)s, 'tests', 'published') RETURNING *) "
            "INSERT INTO exported_windows SELECT name, window_start, window_end, run_id FROM run",
            window,
        )
        anyway = {"If-Match": "*"}
        refusal = admin.delete(address, headers=anyway)
        assert (refusal.status_code, refusal.json()["code"]) == (409, "still_needed")
        connection.execute("DELETE FROM exported_windows WHERE name = %(name)s", window)
        deleted(admin, address)
        assert admin.get(address).status_code == 404
        refusal = admin.delete("/v1/exports/rejected_events", headers=anyway)
        assert (refusal.status_code, refusal.json()["code"]) == (409, "built_in")
        connection.execute("DELETE FROM export_runs WHERE name = %(name)s", window)
    actions = [one["action"] for one in audited(admin, "export_definitions", name)]
    assert actions == ["INSERT", "UPDATE", "UPDATE", "DELETE"]


def test_a_built_in_export_that_was_switched_off_stays_so(
    admin: httpx.Client, settings: Settings
) -> None:
    address = "/v1/exports/rejected_events"
    tag = {"If-Match": admin.get(address).headers["etag"]}
    refusal = admin.put(address, json=EXPORT, headers=tag)
    assert (refusal.status_code, refusal.json()["code"]) == (409, "built_in")
    off = changed_once(admin, address, {"is_active": False})
    try:
        definitions.apply(settings)
        assert admin.get(address).json() == off.json()
    finally:
        with postgres.connect(settings) as connection:
            definitions.switch(connection, "rejected_events", on=True)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"relation": "no_such_table"}, "/body"),
        ({"relation": "(SELECT 1)"}, "/body/relation"),
        ({"columns": [{"name": "event_time"}, {"name": "x", "expression": "("}]}, "/body"),
        ({"time_column": "page_view"}, "/body"),
        ({"destination": "../elsewhere"}, "/body/destination"),
        ({"destination": "exports/events"}, "/body"),
        ({"schedule": "yearly"}, "/body/schedule"),
        ({"retention_days": 0}, "/body/retention_days"),
    ],
)
def test_an_export_that_can_not_be_is_refused(
    admin: httpx.Client, name: str, change: dict[str, Any], pointer: str
) -> None:
    body = EXPORT | {"name": f"{name}_bad"} | change
    refused(admin.post("/v1/exports", json=body), 422, pointer)
    assert admin.get(f"/v1/exports/{name}_bad").status_code == 404


@pytest.mark.parametrize(
    ("things", "table", "body"),
    [
        ("alert-rules", "alert_rules", RULE),
        ("exports", "export_definitions", EXPORT),
        ("maintenance-windows", "alert_maintenance_windows", WINDOW),
    ],
)
def test_of_two_who_make_the_same_at_once_one_is_told(
    admin: httpx.Client, name: str, settings: Settings, things: str, table: str, body: Any
) -> None:
    wanted = body | {"name": f"{name}both"}
    made, told = sent_at_once(settings, table, lambda: admin.post(f"/v1/{things}", json=wanted))
    assert made.status_code == 201, made.text
    refused(told, 409, "/body/name")
    deleted(admin, made.headers["location"])
