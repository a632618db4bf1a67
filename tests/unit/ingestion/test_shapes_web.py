"""What web analytics' SDKs and CloudEvents send, the events it becomes, and our own routes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from millrace.api.ingestion import families
from millrace.api.ingestion.families.family import Account
from millrace.contract import people

from .senders import ACCOUNT, CHROME, request, translate

U1 = people.number_of("u1", ACCOUNT.hash_key)
ID = "391f967f-beff-4f5d-8e72-409f0751ab09"
TIMESTAMP = "2026-11-29T07:59:58.755Z"


HEADERS = {"openpanel-client-id": "KEY", "user-agent": CHROME}


def test_openpanel() -> None:
    properties = {"__path": "https://shop.example/p", "__timestamp": TIMESTAMP, "a": 1}
    payload = {"name": "screen_view", "profileId": "u1", "properties": properties}
    document = {"type": "track", "payload": payload}
    [event] = translate(request("POST", "/track", document, headers=HEADERS))
    event.pop("event_id")
    assert event == {
        "event": "page_view",
        "original_event": "screen_view",
        "timestamp": TIMESTAMP,
        "user_id": U1,
        "original_user_id": "u1",
        "page": "/p",
        "device": "desktop",
        "__path": "https://shop.example/p",
        "a": 1,
    }
    document = {"type": "identify", "payload": {"profileId": "u1", "email": "x@y"}}
    [event] = translate(request("POST", "/track", document, headers=HEADERS))
    assert (event["event"], event["user_id"], event["trait_email"]) == ("identify", U1, "x@y")


def test_umami_and_plausible_know_a_visitor_for_a_day() -> None:
    headers = {"user-agent": CHROME}
    sent = {"type": "event", "payload": {"website": "KEY", "url": "/home?x=1", "title": "T"}}
    umami = request("POST", "/api/send", sent, headers=headers)
    sent = {"n": "pageview", "u": "https://shop.example/p", "d": "KEY", "r": None, "p": '{"a": 1}'}
    plausible = request("POST", "/api/event", sent, headers=headers)
    [viewed], [seen] = translate(umami), translate(plausible)
    assert (viewed["event"], viewed["page"], viewed["title"]) == ("page_view", "/home", "T")
    assert (seen["event"], seen["page"], seen["a"]) == ("page_view", "/p", 1)
    assert viewed["user_id"] == seen["user_id"]
    assert viewed["anonymous_id"].startswith("visitor-")
    assert "192.0.2.7" not in json.dumps([viewed, seen])
    umami.received_at += 86_400_000
    assert translate(umami)[0]["user_id"] != viewed["user_id"]
    plausible.client = "192.0.2.8"
    assert translate(plausible)[0]["user_id"] != seen["user_id"]


def test_umamis_events_of_a_known_user() -> None:
    payload = {
        "website": "KEY",
        "name": "buy",
        "id": "u1",
        "data": {"a": 1},
        "timestamp": 1795939198,
    }
    [event] = translate(request("POST", "/api/send", {"type": "event", "payload": payload}))
    assert (event["event"], event["user_id"], event["a"]) == ("buy", U1, 1)
    assert event["timestamp"] == "2026-11-29T07:59:58.000Z"


CLOUD = {
    "specversion": "1.0",
    "id": "A-1",
    "source": "/shop",
    "type": "com.example.order",
    "time": "2026-11-29T07:59:58.755Z",
    "subject": "u1",
}


def test_cloudevents_in_their_three_forms_are_the_same_event() -> None:
    data = {"amount": 3}
    structured = {"content-type": "application/cloudevents+json; charset=utf-8"}
    batched = {"content-type": "application/cloudevents-batch+json"}
    binary = {f"ce-{name}": value for name, value in CLOUD.items()}
    binary["content-type"] = "application/json"
    requests = [
        request("POST", "/v1/events", {**CLOUD, "data": data}, headers=structured),
        request("POST", "/events", [{**CLOUD, "data": data}], headers=batched),
        request("POST", "/v1/events", data, headers=binary),
    ]
    events = [translate(one)[0] for one in requests]
    assert events[2].pop("ce_datacontenttype") == "application/json"
    assert events[0] == events[1] == events[2]
    assert (
        events[0].items()
        >= {
            "event": "com.example.order",
            "timestamp": TIMESTAMP,
            "user_id": U1,
            "message_id": "/shop#A-1",
            "ce_source": "/shop",
            "amount": 3,
        }.items()
    )


@pytest.mark.parametrize("kind", ["cloudevents", "cloudevents-batch"])
def test_cloudevents_may_come_alone_or_several_whatever_they_are_called(kind: str) -> None:
    headers = {"content-type": f"application/{kind}+json"}
    for sent in (CLOUD, [CLOUD, CLOUD]):
        events = translate(request("POST", "/v1/events", sent, headers=headers))
        assert [one["event"] for one in events] == ["com.example.order"] * len(events)
        assert len(events) == (2 if isinstance(sent, list) else 1)


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b'{"user_id": 42, "amount": 3}', None, {"user_id": 42, "amount": 3}),
        (b'{"amount": 3}', "application/json; charset=utf-8", {"amount": 3}),
        (b"[1]", "application/vnd.shop+json", {"data": [1]}),
        ("Zoë".encode(), "text/plain", {"data": "Zoë"}),
        (b"\xff\x00", "application/octet-stream", {"ce_data_base64": "/wA="}),
        (b"{oops", "application/json", {"ce_data_base64": "e29vcHM="}),
    ],
)
def test_a_cloudevents_data_may_be_bytes(
    data: bytes, kind: str | None, expected: dict[str, Any]
) -> None:
    """As senders write it that hold their data as bytes."""
    sent = {**CLOUD, "data_base64": base64.b64encode(data).decode(), "datacontenttype": kind}
    headers = {"content-type": "application/cloudevents+json"}
    [event] = translate(request("POST", "/v1/events", sent, headers=headers))
    assert event.items() >= expected.items()
    assert ("ce_data_base64" in event) == ("ce_data_base64" in expected)


def test_a_cloudevents_user_is_named_in_its_data_before_its_subject() -> None:
    headers = {"content-type": "application/cloudevents+json"}
    sent = {**CLOUD, "id": ID, "subject": "orders/5", "data": {"user_id": 42}}
    [event] = translate(request("POST", "/v1/events", sent, headers=headers))
    assert (event["event_id"], event["user_id"], event["ce_subject"]) == (ID, 42, "orders/5")


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b' {"a":  1} ', "", [b'{"a":  1}']),
        (b'[{"a":  1},{"b":2}]', "text/plain", [b'{"a":  1}', b'{"b":2}']),
        (b'{"a": 1}\n\n{"b": 2}\r\n', "", [b'{"a": 1}', b'{"b": 2}']),
        (b'{"a": 1}\n{oops\n', "application/x-ndjson", [b'{"a": 1}', b"{oops"]),
        (b'{"a": 1}\noops\n', "", [b'{"a": 1}', b"oops"]),
        (b'{"a": 1\n{"b": 2}\n', "application/json", [b'{"a": 1', b'{"b": 2}']),
        (b'{"a": 1}\n\xef\xbb\xbf{"b": 2}', "application/jsonlines", [b'{"a": 1}', b'{"b": 2}']),
        (b'[\n{"a": 1},\n{"b": 2}\n]', "application/x-ndjson", [b'{"a": 1}', b'{"b": 2}']),
        (b'{\n"a": 1\n}\n', "application/x-ndjson", [b'{\n"a": 1\n}']),
        (b'[oops\n{"a": 1}', "application/x-ndjson", [b"[oops", b'{"a": 1}']),
        (b'5\n{"a": 1}', "text/x-ndjson", [b"5", b'{"a": 1}']),
        (b'[{"a": NaN}, {"b": "\xff"}, 5]', "", [b'{"a": NaN}', b'{"b": "\xff"}', b"5"]),
        (b"[]", "", []),
    ],
)
def test_our_own_events_are_passed_on_untouched(
    body: bytes, content_type: str, expected: list[bytes]
) -> None:
    asked = request("POST", "/v1/events", body=body, headers={"content-type": content_type})
    family = families.find("POST", "/v1/events")
    assert family is not None
    batch = family.read(asked, Account("shop", {}, b"k"))
    assert list(batch.events) == expected
    assert not batch.names_are_foreign


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', [b'{"device":"desktop","a": 1}']),
        (b" { }", [b'{"device":"desktop" }']),
        (b'{"device": "tv"}', [b'{"device": "tv"}']),
        (b'{"device": null}', [b'{"device": null}']),
        (b'{"\\u0064evice": "tv"}', [b'{"\\u0064evice": "tv"}']),
        (b'{"a": {"device": 1}}', [b'{"device":"desktop","a": {"device": 1}}']),
        (b'[5, {"a": NaN}, {"a": 1}]', [b"5", b'{"a": NaN}', b'{"device":"desktop","a": 1}']),
        (b'{"a": 1}\n{oops}', [b'{"device":"desktop","a": 1}', b"{oops}"]),
    ],
)
def test_a_pages_events_get_the_device_that_they_lack(body: bytes, expected: list[bytes]) -> None:
    headers = {"origin": "https://shop.example", "user-agent": CHROME}
    assert sent_on(body, headers) == expected


def test_the_device_is_called_as_the_source_calls_it() -> None:
    headers = {"origin": "https://shop.example", "user-agent": CHROME}
    account = Account("shop", {}, b"k", {"device": "kind"})
    assert sent_on(b'{"a": 1}', headers, account) == [b'{"kind":"desktop","a": 1}']
    assert sent_on(b'{"kind": "tv"}', headers, account) == [b'{"kind": "tv"}']


@pytest.mark.parametrize(
    "headers",
    [{"user-agent": CHROME}, {"origin": "https://shop.example", "user-agent": "shop/1.0"}],
    ids=["no page's", "no browser's"],
)
def test_whose_device_is_not_told_get_none(headers: dict[str, str]) -> None:
    assert sent_on(b'{"a": 1}', headers) == [b'{"a": 1}']


def sent_on(body: bytes, headers: dict[str, str], account: Account = ACCOUNT) -> list[Any]:
    family = families.find("POST", "/v1/events")
    assert family is not None
    return list(
        family.read(request("POST", "/v1/events", body=body, headers=headers), account).events
    )
