"""What SDKs send, translated, before the real gate: accepted, or rejected for what was wrong."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.api.http import Request
from millrace.api.ingestion import families
from millrace.api.ingestion.account import Account
from millrace.api.ingestion.translation import is_uuid
from millrace.contract import people
from tests.helpers.examples import examples
from tests.unit.rules.conftest import AROUND, ChdbEngine, Judge

RECEIVED_AT = 1_767_268_800_000
"""2026-01-01T12:00:00Z, the moment at which the gate of these tests receives."""

ID = "391f967f-beff-4f5d-8e72-409f0751ab09"
AT = "2026-01-01T11:59:58.755123+00:00"
MILLISECONDS = 1_767_268_798_755
ACCOUNT = Account("shop", {}, b"a key")
NAMES = replace(AROUND, event_types=("page_view", "identify", "group", "hello"))
SNOWPLOW = "/com.snowplowanalytics.snowplow/tp2"
SENT = {
    "segment": (
        "/v1/batch",
        {
            "batch": [
                {
                    "type": "track",
                    "event": "hello",
                    "userId": "u1",
                    "messageId": "node-next-1-x",
                    "timestamp": AT,
                    "context": {"os": {"name": "iOS"}, "screen": {"size": {"w": 1}}, "app": None},
                    "properties": {"country": "Germany", "user_id": "x", "amount": 3, "l": [1]},
                }
            ]
        },
    ),
    "segment's page": ("/v1/p", {"anonymousId": "a", "properties": {"path": "/p"}}),
    "posthog": (
        "/batch/",
        {
            "batch": [
                {
                    "event": "$pageview",
                    "uuid": ID,
                    "distinct_id": "u1",
                    "timestamp": AT,
                    "properties": {"$os": "Linux", "$current_url": "https://a/b", "$ip": None},
                    "$set": {"mail": "x@y"},
                }
            ]
        },
    ),
    "amplitude": (
        "/2/httpapi",
        {
            "events": [
                {
                    "event_type": "hello",
                    "device_id": "d1",
                    "time": MILLISECONDS,
                    "insert_id": "7",
                    "event_id": 5,
                    "country": "Germany",
                }
            ]
        },
    ),
    "mixpanel": (
        "/track/",
        {
            "event": "hello",
            "properties": {
                "token": "k",
                "distinct_id": "u1",
                "time": MILLISECONDS / 1000,
                "$insert_id": ID.replace("-", ""),
            },
        },
    ),
    "mixpanel's groups": ("/groups", {"$group_key": "company", "$group_id": 5, "$set": {"n": 1}}),
    "snowplow": (
        SNOWPLOW,
        {
            "data": [
                {"e": "pv", "duid": "d1", "eid": ID, "dtm": str(MILLISECONDS), "url": "https://a/b"}
            ]
        },
    ),
    "jitsu": ("/api/s/track", {"event": "hello", "userId": "7", "messageId": "x"}),
    "openpanel": ("/track", {"type": "track", "payload": {"name": "hello", "properties": {}}}),
    "umami": ("/api/send", {"type": "identify", "payload": {"data": {"plan": "x"}}}),
    "plausible": ("/api/event", {"n": "pageview", "u": "https://a/b", "d": "k"}),
}


def translated(path: str, document: Any) -> list[bytes]:
    asked = Request("POST", path, body=msgspec.json.encode(document), received_at=RECEIVED_AT)
    family = families.find("POST", path)
    assert family is not None
    events = family.read(asked, ACCOUNT).events
    return [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in events]


def test_what_an_sdk_sends_passes_the_gate(judge: Judge) -> None:
    events = [event for sent in SENT.values() for event in translated(*sent)]
    rows = judge(*events, around=NAMES)
    assert len(rows) == len(SENT)
    for row, event in zip(rows, events, strict=True):
        assert row["failures"] == [], event
        assert int(row["user_id"]) > 0


def test_it_lands_in_the_columns_that_the_contract_has(judge: Judge) -> None:
    [event] = translated(*SENT["segment"])
    [row] = judge(event, around=NAMES)
    assert row["user_id"] == str(people.number_of("u1", ACCOUNT.hash_key))
    assert row["event_type"] == "hello"
    assert row["event_time"] == "2026-01-01 11:59:58.755"
    assert row["country"] == ""
    assert row["device_info"] == {"os_name": "iOS", "screen_size": '{"w":1}'}
    assert row["properties"] == {
        "message_id": "node-next-1-x",
        "original_user_id": "u1",
        "property_country": "Germany",
        "property_user_id": "x",
        "amount": "3",
        "l": "[1]",
    }


SPOILT: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"timestamp": "yesterday"}, "invalid_type", "timestamp"),
    ({"timestamp": "2026-01-01T11:59:58"}, "invalid_type", "timestamp"),
    ({"timestamp": "2026-01-01T13:00:00Z"}, "event_in_future", "timestamp"),
    ({"userId": ["u1"]}, "invalid_type", "user_id"),
    ({"userId": None}, "missing_field", "user_id"),
    ({"event": None}, "missing_field", "event"),
    ({"event": "nobody knows"}, "unknown_event_type", "event"),
)


def test_what_cant_be_read_is_rejected_with_the_gates_reason(judge: Judge) -> None:
    good = {"type": "track", "event": "hello", "userId": "u1", "messageId": ID, "timestamp": AT}
    bad = [good | spoilt for spoilt, _, _ in SPOILT]
    *rows, none, last = judge(*translated("/v1/batch", {"batch": [*bad, 5, good]}), around=NAMES)
    for row, (spoilt, reason, field) in zip(rows, SPOILT, strict=True):
        found = [failure.split("|")[:2] for failure in row["failures"]]
        assert found == [[reason, field]], spoilt
    assert none["failures"][0].startswith("malformed_json")
    assert last["failures"] == []


@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(
        st.one_of(
            st.uuids().map(str),
            st.uuids().map(lambda one: one.hex.upper()),
            st.text("0123456789abcdefABCDEF-g{} ", min_size=30, max_size=38),
        ),
        min_size=20,
        max_size=20,
    )
)
def test_a_uuid_is_what_the_gate_reads_as_one(engine: ChdbEngine, texts: list[str]) -> None:
    texts += ["5f0c9f5e-3c1b4d6e9a520d9c1c2f7a10", "", str(uuid.uuid4()) + " "]
    listed = ", ".join(f"'{text}'" for text in texts)
    rows = engine.rows(f"SELECT isNotNull(toUUIDOrNull(arrayJoin([{listed}]))) AS is_uuid")
    assert [bool(row["is_uuid"]) for row in rows] == [is_uuid(text) is not None for text in texts]
