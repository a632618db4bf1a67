"""The administration by HTTP: made, read, changed, refused when stale, done once, and audited."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.helpers.administration import audited, changed_once, deleted, refused
from tests.helpers.wait import until

from millrace.access import keys
from millrace.settings import Settings
from millrace.stores import postgres

Clients = Mapping[str, httpx.Client]
ADMIN = "token:tests-admin"


@pytest.fixture(scope="module")
def admin(query_clients: Clients) -> httpx.Client:
    return query_clients["admin"]


@pytest.fixture(scope="module")
def name() -> str:
    """What this module's things are called, so that they meet no others."""
    return f"adm{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def source(admin: httpx.Client, name: str) -> Iterator[str]:
    """A source of this module's own."""
    body = {"source_id": name, "topic": f"{name}.events", "description": "A shop", "partitions": 1}
    made = admin.post("/v1/sources", json=body)
    assert made.status_code == 201, made.text
    yield name
    tag = admin.get(f"/v1/sources/{name}").headers["etag"]
    admin.patch(f"/v1/sources/{name}", json={"is_active": False}, headers={"If-Match": tag})


def test_an_event_type_is_registered_changed_and_retired(admin: httpx.Client, name: str) -> None:
    event_type = f"{name} paid/refunded"
    body = {"event_type": event_type, "description": "Money came back"}
    made = admin.post("/v1/event-types", json=body)
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    shown = admin.get(address)
    assert shown.json() == made.json()
    assert shown.headers["etag"] == made.headers["etag"]
    refused(admin.post("/v1/event-types", json=body), 409, "/body/event_type")

    retired = changed_once(admin, address, {"is_active": False, "owner": "payments"})
    assert (retired.json()["is_active"], retired.json()["owner"]) == (False, "payments")
    added, changed = audited(admin, "event_types", event_type)
    assert (added["action"], added["changed_by"]) == ("INSERT", ADMIN)
    assert (changed["action"], changed["changed"]) == ("UPDATE", ["is_active", "owner"])
    assert changed["old_value"]["is_active"] is True
    assert changed["new_value"]["is_active"] is False


def test_a_source_is_made_with_its_topic_and_gate(
    admin: httpx.Client, source: str, settings: Settings
) -> None:
    changed = changed_once(admin, f"/v1/sources/{source}", {"description": "Another shop"})
    assert changed.json()["topic"] == f"{source}.events"
    with postgres.connect(settings) as connection:
        row = connection.execute(
            "SELECT gate_id FROM current_gates WHERE source_id = %s", [source]
        ).fetchone()
    assert row is not None, "no gate was compiled for it"
    body = {"source_id": source, "topic": "x", "description": "x"}
    refused(admin.post("/v1/sources", json=body), 409, "/body/source_id")
    added, changed_row = audited(admin, "data_sources", source)
    assert added["changed_by"] == changed_row["changed_by"] == ADMIN
    assert changed_row["changed"] == ["description"]


def test_a_key_is_shown_once_rotated_and_revoked(
    admin: httpx.Client, source: str, settings: Settings
) -> None:
    keys_of = f"/v1/sources/{source}/keys"
    body = {"name": source, "rate_per_second": 10, "allowed_origins": ["https://shop.example"]}
    made = admin.post(keys_of, json=body).json()
    rotated = admin.post(f"{keys_of}/{source}/rotate", json={"overlap_hours": 1}).json()
    assert [one["state"] for one in rotated["secrets"]] == ["rotated", "active"]
    assert keys.TEXT.fullmatch(rotated["text"])
    assert rotated["text"] != made["text"]
    with postgres.connect(settings) as connection:
        digests = {key.digest for key in keys.usable(connection)}
    assert {keys.digest(made["text"]), keys.digest(rotated["text"])} <= digests

    (listed,) = admin.get(keys_of).json()["items"]
    assert (listed["rate_per_second"], listed["events_today"]) == (10, 0)
    assert made["text"] not in admin.get(f"{keys_of}/{source}").text
    deleted(admin, f"{keys_of}/{source}")
    assert {one["state"] for one in admin.get(f"{keys_of}/{source}").json()["secrets"]} == {
        "revoked"
    }
    changes = audited(admin, "ingest_keys", source)
    assert {one["changed_by"] for one in changes} == {ADMIN}
    assert changes[0]["new_value"]["digest"] == "(not shown)"
    assert keys.digest(made["text"]).hex() not in str(changes)


def test_the_key_that_the_commands_send_with_is_not_rotated_under_them(
    admin: httpx.Client, settings: Settings
) -> None:
    kept = keys.digest(settings.ingest_key.get_secret_value())
    with postgres.connect(settings) as connection:
        (key,) = [one for one in keys.every(connection) if one.digest == kept]
    address = f"/v1/sources/{key.source_id}/keys/{key.name}/rotate"
    refusal = admin.post(address, json={})
    assert (refusal.status_code, refusal.json()["code"]) == (409, "kept_elsewhere")


def test_a_rule_is_added_tried_switched_changed_and_removed(
    query_clients: Clients, admin: httpx.Client, source: str
) -> None:
    rule = {
        "name": f"{source}_price",
        "rule_type": "validation",
        "config": {"check": "range", "field": "properties.price", "min": 0},
        "source_id": source,
        "mode": "shadow",
    }
    made = admin.post("/v1/rules", json=rule)
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    assert changed_once(admin, address, {"mode": "enforce"}).json()["mode"] == "enforce"
    body = {key: rule[key] for key in ("rule_type", "config", "source_id")}
    body["config"] = {**rule["config"], "max": 10}  # type: ignore[dict-item]
    replaced = changed_once(admin, address, body, "PUT").json()
    assert (replaced["config"]["max"], replaced["version"]) == (10, 3)
    listed = admin.get("/v1/rules", params={"limit": 1000}).json()["items"]
    assert [one["hits_in_24_h"] for one in listed if one["name"] == rule["name"]] == [0]

    operator = query_clients["operator"]
    for tried in (rule["name"], rule | {"name": "not_saved"}):
        answer = operator.post("/v1/rules/dry-run", json={"rule": tried, "source_id": source})
        assert answer.json() == {"judged": 0, "hits": 0, "examples": []}, answer.text
    deleted(admin, address)
    assert admin.get(address).status_code == 404
    actions = [one["action"] for one in audited(admin, "processing_rules", str(rule["name"]))]
    assert actions == ["INSERT", "UPDATE", "UPDATE", "DELETE"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (
            {"config": {"check": "range", "field": "user_id", "min": 2, "max": 1}},
            "/body/config/min",
        ),
        ({"config": {"check": "nothing"}}, "/body/config/check"),
        ({"config": {"check": "pattern", "field": "page", "pattern": "("}}, "/body/config/pattern"),
        ({"config": {}}, "/body/config/check"),
        ({"rule_type": "aggregation", "mode": "warn"}, "/body/mode"),
        ({"mode": "never"}, "/body/mode"),
        ({"priority": 2**40}, "/body/priority"),
        ({"source_id": "nowhere"}, "/body/source_id"),
        ({"strange": 1}, "/body/strange"),
    ],
)
def test_a_rule_that_can_not_be_is_refused_by_its_field(
    admin: httpx.Client, name: str, change: dict[str, Any], pointer: str
) -> None:
    rule = {
        "name": f"{name}_bad",
        "rule_type": "validation",
        "config": {"check": "required", "field": "page"},
    }
    refused(admin.post("/v1/rules", json=rule | change), 422, pointer)
    assert admin.get(f"/v1/rules/{name}_bad").status_code == 404


def test_a_view_is_its_owner_s_until_it_is_shared(query_clients: Clients, name: str) -> None:
    admin, analyst, viewer = (query_clients[role] for role in ("admin", "analyst", "viewer"))
    body = {"kind": "view", "name": name, "content": {"metric": "page_views", "by": ["country"]}}
    made = analyst.post("/v1/saved", json=body)
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    assert viewer.post("/v1/saved", json=body).status_code == 403
    assert viewer.get(address).status_code == 404
    refused(analyst.post("/v1/saved", json=body), 422, "/body/name")

    changed = changed_once(analyst, address, {"content": {"metric": "orders"}, "sharing": "read"})
    assert (changed.json()["version"], changed.json()["content"]) == (2, {"metric": "orders"})
    seen = viewer.get(address)
    assert (seen.json()["may_change"], seen.json()["owner"]) == (False, "token:tests-analyst")
    tag = {"If-Match": query_clients["operator"].get(address).headers["etag"]}
    theirs = query_clients["operator"].patch(address, json={"name": "mine"}, headers=tag)
    assert (theirs.status_code, theirs.json()["code"]) == (403, "not_yours")
    found = viewer.get("/v1/saved", params={"kind": "view", "owner": "token:tests-analyst"})
    assert [one["name"] for one in found.json()["items"]] == [name]

    object_id = made.json()["object_id"]
    deleted(admin, address)
    added, _, gone = audited(admin, "saved_objects", object_id)
    assert (added["changed_by"], gone["changed_by"]) == ("token:tests-analyst", ADMIN)
    assert gone["old_value"]["content"] == {"metric": "orders"}


def test_a_list_comes_in_pages(query_clients: Clients, name: str) -> None:
    analyst = query_clients["analyst"]
    names = [f"{name} page {number}" for number in range(5)]
    for one in names:
        body = {"kind": "question", "name": one, "content": {}}
        assert analyst.post("/v1/saved", json=body).is_success
    found: list[str] = []
    address = "/v1/saved?kind=question&limit=2"
    while address:
        answer = analyst.get(address)
        found += [item["name"] for item in answer.json()["items"]]
        address = answer.links.get("next", {}).get("url", "")
        assert bool(address) is (answer.json()["next"] is not None)
        address = str(answer.url.join(address)) if address else ""
    assert [one for one in found if one.startswith(name)] == names


def test_settings_say_where_they_come_from_and_no_secret(
    admin: httpx.Client, settings: Settings
) -> None:
    answer = admin.get("/v1/settings", params={"limit": 1000})
    found = {one["name"]: one for one in answer.json()["items"]}
    assert found["port_base"] | {"description": ""} == {
        "name": "port_base",
        "variable": "MILLRACE_PORT_BASE",
        "value": settings.port_base,
        "is_secret": False,
        "is_set": True,
        "source": "environment",
        "description": "",
    }
    assert found["postgres_password"]["source"] == "secrets.env"
    assert found["postgres_password"]["value"] is None
    assert found["sandbox_days"]["source"] == "default"
    secret = settings.postgres_password.get_secret_value()
    assert secret
    assert secret not in answer.text


def test_a_repeated_request_is_done_once_and_answered_twice(
    admin: httpx.Client, source: str, settings: Settings
) -> None:
    address, key = f"/v1/sources/{source}/keys", {"Idempotency-Key": str(uuid4())}
    body = {"name": f"{source}-once"}
    first = admin.post(address, json=body, headers=key)
    again = admin.post(address, json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (
        None,
        "true",
    )
    with postgres.connect(settings) as connection:
        kept = connection.execute("SELECT answer FROM idempotent_answers").fetchall()
    assert kept
    assert not any(first.json()["text"].encode() in bytes(row["answer"]) for row in kept)


def test_an_idempotency_key_is_one_person_s_and_one_request_s(
    query_clients: Clients, name: str
) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    body = {"kind": "view", "name": f"{name} once", "content": {}}
    analyst, admin = query_clients["analyst"], query_clients["admin"]
    mine = analyst.post("/v1/saved", json=body, headers=key)
    refused(
        analyst.post("/v1/saved", json=body | {"content": {"a": 1}}, headers=key),
        422,
        "/header/idempotency-key",
    )
    theirs = admin.post("/v1/saved", json=body, headers=key)
    assert theirs.status_code == 201
    assert theirs.json()["object_id"] != mine.json()["object_id"]


def test_a_repeated_request_waits_for_the_first(
    query_clients: Clients, name: str, settings: Settings
) -> None:
    analyst, key = query_clients["analyst"], {"Idempotency-Key": str(uuid4())}
    body = {"kind": "view", "name": f"{name} slow", "content": {}}
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(analyst.post("/v1/saved", json=body, headers=key))

    with postgres.connect(settings) as connection, connection.transaction():
        connection.execute("LOCK TABLE saved_objects IN EXCLUSIVE MODE")
        first = threading.Thread(target=send)
        first.start()
        waiting = (
            "SELECT 1 FROM pg_locks WHERE relation = 'saved_objects'::regclass AND NOT granted"
        )
        until(lambda: connection.execute(waiting).fetchall(), 10)
        second = analyst.post("/v1/saved", json=body, headers=key)
    first.join()
    assert (second.status_code, second.json()["code"]) == (409, "still_running")
    assert second.headers["retry-after"] == "1"
    assert answers[0].status_code == 201
    assert analyst.post("/v1/saved", json=body, headers=key).content == answers[0].content


def test_the_key_of_a_refused_request_may_be_used_again(query_clients: Clients, name: str) -> None:
    analyst, key = query_clients["analyst"], {"Idempotency-Key": str(uuid4())}
    body = {"kind": "view", "name": f"{name} later", "content": {}, "sharing": "all"}
    assert analyst.post("/v1/saved", json=body, headers=key).status_code == 422
    del body["sharing"]
    assert analyst.post("/v1/saved", json=body, headers=key).status_code == 201


def test_an_idempotency_key_that_could_be_guessed_is_refused(query_clients: Clients) -> None:
    for key in ("short", "x" * 256, "with a space in it"):
        answer = query_clients["analyst"].post(
            "/v1/saved",
            json={"kind": "view", "name": "x", "content": {}},
            headers={"Idempotency-Key": key},
        )
        refused(answer, 422, "/header/idempotency-key")
