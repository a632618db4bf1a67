"""What unmodified SDKs send, as recorded from them, and the events that it becomes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from millrace.contract import people

from .senders import ACCOUNT, CHROME, request, translate

U1 = people.number_of("u1", ACCOUNT.hash_key)
ID = "391f967f-beff-4f5d-8e72-409f0751ab09"
AT = "2026-11-29T07:59:58.755+00:00"
TIMESTAMP = "2026-11-29T07:59:58.755Z"
COMMON = {"event_id": ID, "timestamp": TIMESTAMP, "user_id": U1, "original_user_id": "u1"}
CONTEXT = {"library": {"name": "analytics-python", "version": "2.4.0"}}
LIBRARY = {"library_name": "analytics-python", "library_version": "2.4.0"}


def segment(**call: Any) -> dict[str, Any]:
    sent = {
        "integrations": {},
        "anonymousId": None,
        "timestamp": AT,
        "context": CONTEXT,
        "userId": "u1",
        "messageId": ID,
        **call,
    }
    document = {"batch": [sent], "sentAt": "2026-11-29T07:59:58.803291+00:00", "writeKey": "KEY"}
    [event] = translate(request("POST", "/v1/batch", document))
    return event


SEGMENT = {**COMMON, "device_info": LIBRARY}


def test_segment_track() -> None:
    call = {"type": "track", "event": "Order Completed", "properties": {"amount": 1}}
    aliased = {"event": "purchase", "original_event": "Order Completed", "amount": 1}
    assert segment(**call) == {**SEGMENT, **aliased}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            {"type": "identify", "traits": {"email": "x@y", "plan": None}},
            {"event": "identify", "trait_email": "x@y"},
        ),
        (
            {"type": "page", "name": "Home", "category": "c", "properties": {"url": "http://x/y"}},
            {
                "event": "page_view",
                "page": "/y",
                "url": "http://x/y",
                "page_name": "Home",
                "page_category": "c",
            },
        ),
        (
            {"type": "screen", "name": "S", "properties": {}},
            {"event": "screen_view", "screen_name": "S"},
        ),
        (
            {"type": "group", "groupId": "g1", "traits": {"plan": "p"}},
            {"event": "group", "group_id": "g1", "trait_plan": "p"},
        ),
        ({"type": "alias", "previousId": "old"}, {"event": "alias", "previous_id": "old"}),
        (
            {"type": "track", "event": "E", "channel": "server", "integrations": {"All": True}},
            {"event": "E", "channel": "server", "integrations": {"All": True}},
        ),
    ],
)
def test_segments_other_calls(call: dict[str, Any], expected: dict[str, Any]) -> None:
    assert segment(**call) == {**SEGMENT, **expected}


def test_segments_browser_sends_one_event_as_plain_text_with_its_surroundings() -> None:
    context = {
        "page": {"path": "/p", "url": "https://shop.example/p", "title": "T", "referrer": ""},
        "userAgent": CHROME,
        "locale": "de-DE",
        "timezone": "Europe/Berlin",
        "campaign": {"source": "mail"},
        "library": {"name": "analytics.js", "version": "next-1.84.3"},
    }
    document = {
        "timestamp": "2026-11-29T07:59:58.755Z",
        "type": "page",
        "properties": {"path": "/p", "title": "T"},
        "context": context,
        "messageId": "ajs-next-1795939198755-x",
        "anonymousId": "anon-1",
        "writeKey": "KEY",
        "userId": None,
        "sentAt": "2026-11-29T07:59:58.760Z",
        "_metadata": {"bundled": ["Segment.io"]},
    }
    headers = {"content-type": "text/plain", "user-agent": CHROME}
    [event] = translate(request("POST", "/v1/p", document, headers=headers))
    event.pop("event_id")
    assert event == {
        "event": "page_view",
        "timestamp": "2026-11-29T07:59:58.755Z",
        "user_id": people.number_of("anon-1", ACCOUNT.hash_key),
        "page": "/p",
        "device": "desktop",
        "device_info": {
            "user_agent": CHROME,
            "locale": "de-DE",
            "library_name": "analytics.js",
            "library_version": "next-1.84.3",
        },
        "geo_location": {"timezone": "Europe/Berlin"},
        "message_id": "ajs-next-1795939198755-x",
        "anonymous_id": "anon-1",
        "path": "/p",
        "title": "T",
        "_metadata": {"bundled": ["Segment.io"]},
        "page_path": "/p",
        "page_url": "https://shop.example/p",
        "page_title": "T",
        "page_referrer": "",
        "campaign_source": "mail",
    }


def test_rudderstacks_events_say_each_when_they_were_sent() -> None:
    late = {"originalTimestamp": "2026-11-29T10:59:00.000Z", "sentAt": "2026-11-29T11:00:00.000Z"}
    right = {"originalTimestamp": "2026-11-29T07:59:00.000Z", "sentAt": "2026-11-29T08:00:00.000Z"}
    batch = [{"type": "track", "event": "E", "userId": "7", **one} for one in (late, right, {})]
    first, second, third = translate(request("POST", "/v1/batch", {"batch": batch}))
    assert first["timestamp"] == second["timestamp"] == "2026-11-29T07:59:00.000Z"
    assert first["original_timestamp"] == "2026-11-29T10:59:00.000Z"
    assert "original_timestamp" not in second
    assert third["timestamp"] == "2026-11-29T08:00:00.000Z"


def test_what_is_no_event_stays_in_its_place_for_the_gate() -> None:
    batch = [{"type": "track", "event": "a", "userId": 7}, 5, None, "x", [1]]
    events = translate(request("POST", "/v1/batch", {"batch": batch}))
    assert events[1:] == [5, None, "x", [1]]


def posthog(path: str = "/batch/", **sent: Any) -> dict[str, Any]:
    one = {"distinct_id": "u1", "uuid": ID, "timestamp": AT, **sent}
    document = {"api_key": "KEY", "batch": [one], "sent_at": AT, "historical_migration": False}
    [event] = translate(request("POST", path, document))
    return event


@pytest.mark.parametrize("path", ["/batch/", "/e/", "/i/v1/analytics/events"])
def test_posthog_capture(path: str) -> None:
    properties = {
        "$current_url": "https://shop.example/b?x=1",
        "$os": "Linux",
        "$lib": "posthog-python",
        "$device_type": "Mobile",
        "$geoip_country_code": "DE",
        "$is_server": True,
        "amount": 3,
        "token": "KEY",
    }
    assert posthog(path, event="$pageview", properties=properties) == {
        **COMMON,
        "event": "page_view",
        "original_event": "$pageview",
        "page": "/b",
        "country": "DE",
        "device": "mobile",
        "device_info": {"os": "Linux", "lib": "posthog-python", "device_type": "Mobile"},
        "geo_location": {"country_code": "DE"},
        "$current_url": "https://shop.example/b?x=1",
        "$is_server": True,
        "amount": 3,
    }


def test_surroundings_that_differ_are_never_taken_for_each_other() -> None:
    heights = [1, True, 1.0, 1, None]
    sent = [{"event": "a", "properties": {"$screen_height": one, "n": 0}} for one in heights]
    events = translate(request("POST", "/batch/", {"batch": sent}))
    said = [json.dumps(event["device_info"]["screen_height"]) for event in events]
    assert said == ["1", "true", "1.0", "1", "null"]
    calls = [{"type": "track", "context": {"os": {"version": one}}} for one in heights[:4]]
    events = translate(request("POST", "/v1/batch", {"batch": [*calls, {"type": "track"}]}))
    said = [json.dumps(event["device_info"]["os_version"]) for event in events[:4]]
    assert said == ["1", "true", "1.0", "1"]
    assert "device_info" not in events[4]


def test_posthogs_people_and_groups() -> None:
    event = posthog(event="$set", properties={}, **{"$set": {"a": 1}, "$set_once": {"b": 2}})
    assert event == {**COMMON, "event": "$set", "trait_a": 1, "first_trait_b": 2}
    group = {"$group_type": "company", "$group_key": "5", "$group_set": {"n": 1}}
    assert posthog(event="$groupidentify", properties=group) == {
        **COMMON,
        "event": "group",
        "original_event": "$groupidentify",
        "$group_type": "company",
        "$group_key": "5",
        "trait_n": 1,
    }


def test_posthogs_array_of_events_and_form() -> None:
    one = {"event": "a", "properties": {"distinct_id": "u1", "$insert_id": ID}, "offset": 1245}
    packed = base64.b64encode(json.dumps([one]).encode())
    form = b"data=" + packed.replace(b"+", b"%2B").replace(b"=", b"%3D")
    for asked in (request("POST", "/e/", [one]), request("POST", "/e/", body=form)):
        [event] = translate(asked)
        assert {**COMMON, "event": "a"}.items() <= event.items()


def test_posthogs_migrations_keep_their_times() -> None:
    one = {"event": "a", "uuid": ID, "distinct_id": "u1", "timestamp": AT}
    document = {"batch": [one], "sent_at": "2026-11-29T11:00:00Z", "historical_migration": True}
    [event] = translate(request("POST", "/batch/", document))
    assert event["timestamp"] == TIMESTAMP


def test_amplitude() -> None:
    time = 1795939198755
    common = {"user_id": "u1", "time": time, "insert_id": ID, "library": "amplitude-python/1.3.0"}
    click = {"device_id": "d1", "event_properties": {"a": 1}, "event_type": "click", **common}
    place = {"country": "Germany", "city": "Berlin", "platform": "iOS", "event_id": 0}
    changes = {"$add": {"n": 1}, "$set": {"plan": "x"}}
    identify = {"event_type": "$identify", "user_properties": changes, **common}
    group = {
        "event_type": "$groupidentify",
        "groups": {"org": "1"},
        "group_properties": {"$set": {"n": 1}},
        "insert_id": ID,
        "time": time,
    }
    batch = [click | place, identify, group]
    document = {"api_key": "KEY", "events": batch, "client_upload_time": "2026-11-29T07:59:59Z"}
    library = {"library": "amplitude-python/1.3.0"}
    clicked, identified, grouped = translate(request("POST", "/2/httpapi", document))
    assert clicked == {
        **COMMON,
        "event": "click",
        "device": "mobile",
        "device_info": {**library, "platform": "iOS"},
        "geo_location": {"country": "Germany", "city": "Berlin"},
        "anonymous_id": "d1",
        "a": 1,
        "property_event_id": 0,
    }
    assert identified == {
        **COMMON,
        "event": "identify",
        "original_event": "$identify",
        "device_info": library,
        "trait_plan": "x",
        "user_properties": {"$add": {"n": 1}},
    }
    assert grouped["original_user_id"] == "$org_1"
    assert (grouped["event"], grouped["trait_n"]) == ("group", 1)


def test_mixpanel() -> None:
    properties = {
        "token": "KEY",
        "distinct_id": "u1",
        "time": 1795939198.7550001,
        "$insert_id": ID.replace("-", ""),
        "mp_lib": "python",
        "$lib_version": "5.4.1",
        "$city": "Berlin",
        "mp_country_code": "DE",
        "a": 1,
    }
    expected = {
        **COMMON,
        "event": "ev",
        "country": "DE",
        "device_info": {"lib": "python", "lib_version": "5.4.1"},
        "geo_location": {"city": "Berlin", "country_code": "DE"},
        "a": 1,
    }
    sent = {"event": "ev", "properties": properties}
    text = json.dumps(sent)
    packed = base64.b64encode(text.encode()).decode()
    lines = f"{text}\n{text}".encode()
    for asked, number in (
        (request("POST", "/track", query=None, body=f"data={packed}".encode()), 1),
        (request("GET", "/track", query={"data": packed, "verbose": "0"}), 1),
        (request("POST", "/import", [sent, sent]), 2),
        (request("POST", "/import", body=lines), 2),
    ):
        assert translate(asked) == [expected] * number


def test_mixpanels_people_and_groups() -> None:
    person = {"$token": "KEY", "$time": 1795939198, "$distinct_id": "u1", "$set": {"n": 1}}
    [event] = translate(request("POST", "/engage", person))
    assert (event["event"], event["user_id"], event["trait_n"]) == ("identify", U1, 1)
    group = {"$token": "KEY", "$group_key": "company", "$group_id": "5", "$unset": ["n"]}
    [event] = translate(request("POST", "/groups", group))
    assert (event["event"], event["original_user_id"]) == ("group", "$company_5")
    assert (event["$group_key"], event["$group_id"], event["$unset"]) == ("company", "5", ["n"])


def packed(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def test_snowplow() -> None:
    common = {
        "p": "pc",
        "uid": "u1",
        "eid": ID,
        "dtm": "1795939198755",
        "tv": "py-1.1.0",
        "tna": "ns",
        "aid": "KEY",
        "stm": "1795939199000",
    }
    unstructured = {
        "schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
        "data": {"schema": "iglu:com.acme/link_click/jsonschema/1-0-0", "data": {"target": "x"}},
    }
    entity = {"schema": "iglu:com.acme/cart/jsonschema/1-0-0", "data": {"c": 1}}
    contexts = {"schema": "iglu:com.acme/contexts/jsonschema/1-0-1", "data": [entity]}
    sent = [
        {"e": "pv", "url": "http://a/b?c", "page": "T", **common},
        {"e": "se", "se_ca": "cat", "se_ac": "act", "se_va": "3.5", **common},
        {"e": "ue", "ue_px": packed(unstructured), "cx": packed(contexts), **common},
        {"e": "ue", "ue_pr": json.dumps(unstructured), "co": json.dumps(contexts), **common},
    ]
    document = {"schema": "iglu:…/payload_data/jsonschema/1-0-4", "data": sent}
    path = "/com.snowplowanalytics.snowplow/tp2"
    viewed, acted, clicked, plain = translate(request("POST", path, document))
    shared = {
        **COMMON,
        "device": "desktop",
        "device_info": {"tracker_version": "py-1.1.0"},
        "platform": "pc",
        "tracker_namespace": "ns",
        "app_id": "KEY",
    }
    page = {"event": "page_view", "page": "/b", "page_title": "T", "url": "http://a/b?c"}
    assert viewed == {**shared, **page}
    assert acted == {**shared, "event": "act", "category": "cat", "action": "act", "value": "3.5"}
    assert (
        clicked
        == plain
        == {
            **shared,
            "event": "link_click",
            "schema": "iglu:com.acme/link_click/jsonschema/1-0-0",
            "target": "x",
            "context_cart": {"c": 1},
        }
    )
    assert translate(request("GET", "/i", query=sent[0])) == [viewed]


def test_snowplows_damaged_documents_are_kept_as_they_came() -> None:
    sent = {"e": "ue", "ue_px": "!!", "cx": "??", "eid": ID}
    path = "/com.snowplowanalytics.snowplow/tp2"
    [event] = translate(request("POST", path, {"data": [sent]}))
    assert event["event"] == "self_describing_event"
    assert event["self_describing_event"] == "!!"
    assert event["context_contexts"] == "??"


def test_jitsu() -> None:
    sent = {
        "type": "track",
        "event": "E",
        "properties": {"a": 1},
        "userId": "u1",
        "anonymousId": "anon",
        "timestamp": TIMESTAMP,
        "sentAt": TIMESTAMP,
        "messageId": "eqi9apa5ym58meysszlb",
        "writeKey": "KEY:***",
        "context": {"library": {"name": "@jitsu/js"}, "traits": {}, "page": {}},
    }
    for path in ("/api/s/track", "/api/s/s2s/track"):
        [event] = translate(request("POST", path, sent))
        event.pop("event_id")
        assert event == {
            "event": "E",
            "timestamp": TIMESTAMP,
            "user_id": U1,
            "device_info": {"library_name": "@jitsu/js"},
            "message_id": "eqi9apa5ym58meysszlb",
            "original_user_id": "u1",
            "anonymous_id": "anon",
            "a": 1,
        }
