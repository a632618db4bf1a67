"""What SDKs don't send, and other people do: odd types, keys in odd places, deep nesting."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from millrace.api.http import Request
from millrace.api.ingestion import credentials, families
from millrace.api.ingestion.batches import Outcome

from .senders import ACCOUNT, request, translate

ONE = {"event": "a", "distinct_id": "u1", "uuid": "a"}
V1 = "/i/v1/analytics/events"


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/b", "/beacon/v1/anything"])
def test_an_event_of_a_batch_that_does_not_say_its_type_has_no_name(path: str) -> None:
    """It is rejected, and no event type is called `batch`."""
    [event] = translate(request("POST", path, {"batch": [{"event": "Paid", "userId": "u1"}]}))
    assert "event" not in event
    assert event["event_name"] == "Paid"


@pytest.mark.parametrize("path", ["/v1/track", "/v1/t", "/t", "/beacon/v1/track"])
def test_on_a_route_of_one_type_an_event_need_not_say_it(path: str) -> None:
    [event] = translate(request("POST", path, {"event": "Paid", "userId": "u1"}))
    assert event["event"] == "Paid"


def pixels(path: str, **sent: str) -> list[Request]:
    names = ("writeKey", "write_key", "writekey", "api_key", "apiKey", "apikey", "token", "key")
    return [request("GET", path, query={**sent, name: "SECRET"}) for name in names]


def posthogs(path: str) -> list[Request]:
    sent: list[dict[str, Any]] = []
    for name in ("api_key", "token", "$token"):
        sent += [{**ONE, name: "SECRET"}, {**ONE, "properties": {name: "SECRET"}}]
    return [request("POST", path, [one]) for one in sent] + [
        request("POST", path, {"batch": [one]}) for one in sent if "properties" in one
    ]


@pytest.mark.parametrize(
    "asked",
    [
        *pixels("/pixel/v1/track", event="a", userId="u1"),
        *pixels("/i", e="pv", uid="u1"),
        *posthogs("/e/"),
        *(
            request("POST", path, [{"event": "a", "$distinct_id": "u1", name: "SECRET"}])
            for path in ("/track", "/engage", "/groups")
            for name in ("token", "$token")
        ),
    ],
    ids=lambda asked: f"{asked.path} {asked.query_string.decode()} {asked.body.decode()}",
)
def test_no_key_is_kept_in_an_event(asked: Request) -> None:
    """Analysts read events; who has the key can send some."""
    assert credentials.find(asked, families.find(asked.method, asked.path)) == "SECRET"
    assert "SECRET" not in json.dumps(translate(asked))


def posthog(**properties: Any) -> dict[str, Any]:
    [event] = translate(request("POST", "/e/", {**ONE, "properties": properties}))
    return event


@pytest.mark.parametrize("odd", [5, True, {"a": 1}, ["/x"], "", None])
def test_a_page_that_is_no_text_spoils_no_event(odd: Any) -> None:
    for name in ("$pathname", "$screen_name"):
        event = posthog(**{name: odd})
        assert "page" not in event
        assert event[name] == odd
        assert posthog(**{name: odd, "$current_url": "https://shop.example/b"})["page"] == "/b"
    assert posthog(**{"$pathname": odd, "$screen_name": "Cart"})["page"] == "Cart"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"batch": [ONE]}),
        json.dumps({"batch": ONE}),
        json.dumps([ONE]),
        json.dumps(ONE),
        "data=" + quote(json.dumps([ONE])),
    ],
)
def test_posthogs_v1_answers_every_form_that_it_takes(body: str) -> None:
    asked = request("POST", V1, body=body.encode())
    family = families.find("POST", V1)
    assert family is not None
    outcome = Outcome(len(family.read(asked, ACCOUNT).events))
    assert json.loads(family.answer(asked, outcome).body) == {"results": {"a": {"result": "ok"}}}
