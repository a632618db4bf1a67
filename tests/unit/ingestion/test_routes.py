"""Each route's family, where an SDK puts its key, and how each family answers and refuses."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from millrace.api.http import ProblemError, Request, Response
from millrace.api.ingestion import credentials, families
from millrace.api.ingestion.batches import Outcome, Rejection
from millrace.api.ingestion.families.shared import Shared

from .senders import request

BASIC = "Basic " + base64.b64encode(b"KEY:").decode()
SNOWPLOW = "/com.snowplowanalytics.snowplow/tp2"


def family_of(asked: Request) -> str:
    family = families.find(asked.method, asked.path)
    assert family is not None
    return family.of(asked).name if isinstance(family, Shared) else family.name


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/events", "millrace"),
        ("POST", "/events", "millrace"),
        ("POST", "/v1/batch", "segment"),
        ("POST", "/v1/t", "segment"),
        ("POST", "/t", "segment"),
        ("GET", "/v1/projects/KEY/settings", "segment"),
        ("GET", "/sourceConfig/", "segment"),
        ("POST", "/beacon/v1/batch", "segment"),
        ("GET", "/pixel/v1/track", "segment"),
        ("POST", "/batch/", "posthog"),
        ("POST", "/e/", "posthog"),
        ("POST", "/i/v0/e/", "posthog"),
        ("POST", "/i/v1/analytics/events", "posthog"),
        ("POST", "/flags/", "posthog"),
        ("GET", "/array/KEY/config.js", "posthog"),
        ("POST", "/2/httpapi", "amplitude"),
        ("GET", "/track", "mixpanel"),
        ("POST", "/track/", "mixpanel"),
        ("POST", "/import", "mixpanel"),
        ("POST", SNOWPLOW, "snowplow"),
        ("GET", "/i", "snowplow"),
        ("POST", "/i", "segment"),
        ("POST", "/api/s/s2s/track", "jitsu"),
        ("POST", "/api/send", "umami"),
        ("POST", "/api/event", "plausible"),
    ],
)
def test_a_route_is_its_familys(method: str, path: str, name: str) -> None:
    assert family_of(request(method, path)) == name


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/events"), ("POST", "/nothing"), ("GET", "/")]
)
def test_other_routes_are_nobodys(method: str, path: str) -> None:
    assert families.find(method, path) is None


def test_routes_of_two_families_are_told_apart_by_header_or_body() -> None:
    amplitude = request("POST", "/batch", {"api_key": "KEY", "events": []})
    posthog = request("POST", "/batch", {"api_key": "KEY", "batch": []})
    payload = {"type": "track", "payload": {"name": "a"}}
    openpanel = request("POST", "/track", payload, headers={"openpanel-client-id": "KEY"})
    mixpanel = request("POST", "/track", {"event": "a", "properties": {"token": "KEY"}})
    asked = {
        "amplitude": amplitude,
        "posthog": posthog,
        "openpanel": openpanel,
        "mixpanel": mixpanel,
    }
    for name, one in asked.items():
        assert family_of(one) == name
        assert credentials.find(one, families.find(one.method, one.path)) == "KEY"


@pytest.mark.parametrize(
    "asked",
    [
        request("POST", "/v1/batch", {}, headers={"authorization": BASIC}),
        request("POST", "/v1/batch", {}, headers={"authorization": "Bearer KEY"}),
        request("POST", "/api/s/track", {}, headers={"x-write-key": "KEY"}),
        request("POST", "/api/s/track", {}, headers={"x-write-key": "KEY:any secret"}),
        request("POST", "/v1/events", {}, headers={"x-api-key": "KEY"}),
        request("POST", "/beacon/v1/batch", {}, query={"writeKey": "KEY"}),
        request("POST", "/v1/t", {"writeKey": "KEY"}, headers={"content-type": "text/plain"}),
        request("POST", "/batch/", {"api_key": "KEY", "batch": []}),
        request("POST", "/e/", [{"event": "a", "properties": {"token": "KEY"}}]),
        request("POST", "/e/", {"batch": [{"properties": {"token": "KEY"}}]}),
        request("POST", "/2/httpapi", {"api_key": "KEY", "events": []}),
        request("POST", "/engage", body=b'data=[{"$token":"KEY"}]&verbose=1'),
        request("POST", SNOWPLOW, {"schema": "s", "data": [{"aid": "KEY"}]}),
        request("GET", "/i", query={"aid": "KEY", "e": "pv"}),
        request("POST", "/api/send", {"type": "event", "payload": {"website": "KEY"}}),
        request("POST", "/api/event", {"n": "pageview", "d": "KEY"}),
    ],
)
def test_the_key_is_found_where_the_sdk_puts_it(asked: Request) -> None:
    assert credentials.find(asked, families.find(asked.method, asked.path)) == "KEY"


@pytest.mark.parametrize("header", ["", "Basic ???", "Basic " + "/" * 4, "Digest x", "Basic"])
def test_a_header_that_holds_no_key_leaves_it_to_the_body(header: str) -> None:
    asked = request("POST", "/v1/batch", {"writeKey": "KEY"}, headers={"authorization": header})
    assert credentials.find(asked, families.find("POST", "/v1/batch")) == "KEY"
    broken = request("POST", "/v1/batch", body=b"{", headers={"authorization": header})
    assert credentials.find(broken, families.find("POST", "/v1/batch")) is None


def answered(path: str, document: Any, outcome: Outcome, **asked: Any) -> Response:
    one = request("POST", path, document, **asked)
    family = families.find("POST", path)
    assert family is not None
    return family.answer(one, outcome)


BAD = Outcome(2, (Rejection(1, "e-2", "missing_field", "user_id", "absent"),))


@pytest.mark.parametrize(
    ("path", "document"),
    [
        *(("/v1/batch", {"batch": []}), ("/v1/t", {}), ("/batch/", {"batch": []}), ("/e/", [])),
        *(("/2/httpapi", {"events": []}), ("/track/", []), ("/api/s/track", {}), ("/track", {})),
        *((SNOWPLOW, {"data": []}), ("/api/send", {}), ("/api/event", {})),
    ],
)
def test_success_is_what_every_sdk_takes_for_it(path: str, document: Any) -> None:
    answer = answered(path, document, BAD)
    content = json.loads(answer.body)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (content["code"], content["status"], content["success"]) == (200, 1, True)
    assert (content["events_ingested"], content["accepted"]) == (2, 1)
    assert content["rejected"] == [BAD.rejections[0].as_json()]


def test_our_own_answer_names_what_will_be_rejected() -> None:
    content = json.loads(answered("/v1/events", [], BAD).body)
    assert content == {
        "status": "accepted",
        "count": 2,
        "accepted": 1,
        "rejected": [
            {
                "index": 1,
                "event_id": "e-2",
                "reason": "missing_field",
                "field": "user_id",
                "detail": "absent",
            }
        ],
    }


def test_posthogs_v1_hears_of_each_event() -> None:
    document = {"batch": [{"uuid": "a"}, {"uuid": "b"}, {"no": "id"}, 5]}
    content = json.loads(answered("/i/v1/analytics/events", document, BAD).body)
    assert content["results"] == {
        "a": {"result": "ok"},
        "b": {"result": "drop", "details": "missing_field user_id: absent"},
    }


def test_mixpanel_is_answered_as_it_asks() -> None:
    for body, expected in ((b"data=e30&verbose=0", b"1"), (b"data=e30&img=1", b"GIF89a")):
        asked = request("POST", "/track/", body=body)
        family = families.find("POST", "/track/")
        assert family is not None
        assert family.answer(asked, Outcome(1)).body.startswith(expected)


def refused(path: str, status: int, document: Any = None, body: bytes = b"") -> Response:
    asked = request("POST", path, document, body=body)
    family = families.find("POST", path)
    assert family is not None
    return family.refuse(asked, ProblemError(status, "some_code", "why", retry_after=7))


@pytest.mark.parametrize(
    ("path", "status", "answered_with"),
    [
        ("/v1/batch", 429, 429),
        ("/batch/", 429, 429),
        ("/e/", 429, 503),
        ("/i/v0/e/", 429, 503),
        ("/i/v1/analytics/events", 429, 429),
        ("/batch/", 413, 413),
        (SNOWPLOW, 413, 422),
        (SNOWPLOW, 415, 422),
        (SNOWPLOW, 401, 401),
        (SNOWPLOW, 429, 429),
        (SNOWPLOW, 503, 503),
        ("/2/httpapi", 413, 413),
        ("/api/event", 401, 401),
    ],
)
def test_a_refusal_has_the_status_that_the_sdk_acts_rightly_on(
    path: str, status: int, answered_with: int
) -> None:
    answer = refused(path, status, {"data": [], "events": [], "batch": []})
    assert answer.status == answered_with
    assert answer.headers["retry-after"] == "7"
    content = json.loads(answer.body)
    assert {"type", "title", "detail", "instance", "code", "message", "error"} <= content.keys()
    if "amplitude" not in path and path != "/2/httpapi":
        assert content["status"] == answered_with


def test_amplitude_is_refused_by_the_bodys_number() -> None:
    def content(status: int, **sent: Any) -> dict[str, Any]:
        return dict(json.loads(refused("/2/httpapi", status, **sent).body))

    events = {"events": [{}, {}]}
    assert content(429, document=events)["throttled_events"] == [0, 1]
    assert content(429, body=b"{")["throttled_events"] == []
    assert content(401)["error"].startswith("Invalid API key:")
    assert content(400)["missing_field"] == "events"
    for status in (400, 401, 413, 429, 503):
        assert content(status, document=events)["code"] == status
    assert "missing_field" not in content(413) | content(503)


@pytest.mark.parametrize("body", [b"", b'{"api_key": "KEY", "events": [', b'{"events": []}'])
def test_amplitudes_other_route_is_refused_so_too_before_it_could_be_read(body: bytes) -> None:
    assert json.loads(refused("/batch", 413, body=body).body)["code"] == 413
    posthog = json.loads(refused("/batch", 413, {"batch": []}).body)
    assert posthog["code"] == "some_code"


def test_mixpanel_is_refused_by_the_bodys_status() -> None:
    content = json.loads(refused("/import", 400).body)
    assert (content["status"], content["error"]) == (0, "why")


@pytest.mark.parametrize(
    ("method", "path", "member"),
    [
        ("GET", "/v1/projects/KEY/settings", "integrations"),
        ("GET", "/sourceConfig/", "source"),
        ("POST", "/flags/", "featureFlags"),
        ("POST", "/decide/", "featureFlags"),
        ("GET", "/array/KEY/config", "supportedCompression"),
        ("GET", "/api/surveys/", "surveys"),
    ],
)
def test_what_an_sdk_asks_first_is_answered(method: str, path: str, member: str) -> None:
    family = families.find(method, path)
    assert family is not None
    answer = family.discovery(request(method, path))
    assert answer is not None
    assert answer.status == 200
    assert member in json.loads(answer.body)


def test_the_settings_name_the_key_and_the_script_cant_be_broken_out_of() -> None:
    settings = families.find("GET", "/v1/projects/KEY/settings")
    assert settings is not None
    answer = settings.discovery(request("GET", "/v1/projects/KEY/settings"))
    assert answer is not None
    assert json.loads(answer.body)["integrations"]["Segment.io"]["apiKey"] == "KEY"
    path = "/array/');alert('x/config.js"
    posthog = families.find("GET", path)
    assert posthog is not None
    script = posthog.discovery(request("GET", path))
    assert script is not None
    assert b"_POSTHOG_REMOTE_CONFIG[\"');alert('x\"]" in script.body


def test_sending_is_no_discovery() -> None:
    for path in ("/v1/batch", "/v1/t", "/batch/", "/e/", "/2/httpapi", "/track", "/api/s/track"):
        family = families.find("POST", path)
        assert family is not None
        assert family.discovery(request("POST", path)) is None
