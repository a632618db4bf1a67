"""The HTTP door with a pretended intake: what requests look like that are no textbook's."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import brotli
import httpx
import pytest

from millrace.access.keys import Key
from millrace.api.http import ProblemError
from millrace.api.ingestion import families, openapi
from millrace.api.ingestion.account import Account
from millrace.api.ingestion.app import App
from millrace.api.ingestion.batches import Batch, Outcome

from .senders import ACCOUNT, CHROME

SENDER = Key("id", "shop", "shop", b"")
KEY = {"authorization": "Bearer KEY"}
SENT = {"event": "a", "name": "Zoë"}
TEXT = json.dumps(SENT, ensure_ascii=False)


class Ring:
    """One key."""

    async def sender(self, text: str | None, hint: str) -> Key:
        """Let the key in."""
        if text != "KEY":
            raise ProblemError(401, "unknown_key", hint)
        return SENDER

    def account(self, key: Key) -> Account:
        """Return whom it stands for."""
        return ACCOUNT


class Intake:
    """Takes everything, and keeps it."""

    def __init__(self) -> None:
        self.ring = Ring()
        self.limits = SimpleNamespace(headers=lambda _key: {"ratelimit": '"events";r=0;t=7'})
        self.taken: list[Any] = []
        self.problem: ProblemError | None = None

    async def take(self, key: Key, batch: Batch, request_id: str) -> Outcome:
        """Take a batch."""
        if self.problem:
            raise self.problem
        self.taken += batch.events
        return Outcome(len(batch.events))


def asked(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | list[tuple[str, str]] = KEY,
    problem: ProblemError | None = None,
) -> tuple[httpx.Response, list[Any]]:
    """Ask the application; return its answer, and the events that it took."""
    intake = Intake()
    intake.problem = problem
    transport = httpx.ASGITransport(App(intake))  # type: ignore[arg-type]

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, f"http://api{path}", content=body, headers=headers)

    return asyncio.run(ask()), intake.taken


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (TEXT.encode("utf-8-sig"), "application/json"),
        (TEXT.encode("utf-16"), "application/json"),
        (TEXT.encode("utf-16-le"), "application/json; charset=utf-16"),
        (TEXT.encode("utf-16-be"), ""),
        (TEXT.encode("utf-32"), "text/plain"),
        (TEXT.encode("latin-1"), "application/json; charset=ISO-8859-1"),
        (TEXT.encode("cp1252"), 'text/plain; charset="windows-1252"'),
        (TEXT.encode(), "application/json; charset=iso-8859-1"),  # labelled wrongly
        (TEXT.encode(), "application/json; charset=iso-8859-12"),  # there is no such
        (TEXT.encode("utf-8-sig") + b"\r\n", "application/x-ndjson"),
        (TEXT.encode() + b"\0", "application/json"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/events", "/e/"])
def test_a_text_is_read_in_whatever_charset_it_came(
    path: str, body: bytes, content_type: str
) -> None:
    answer, taken = asked("POST", path, body, KEY | {"content-type": content_type})
    assert answer.status_code == 200, answer.text
    [event] = [json.loads(one) if isinstance(one, bytes) else one for one in taken]
    assert event.items() >= SENT.items()


def test_what_a_charset_makes_too_long_is_refused() -> None:
    labelled = KEY | {"content-type": "text/plain; charset=latin1"}
    answer, taken = asked("POST", "/v1/events", b'{"a":"%s"}' % (b"\xe9" * (11 << 20)), labelled)
    assert (answer.status_code, answer.json()["code"], taken) == (413, "body_too_large", [])


@pytest.mark.parametrize(
    "path",
    [
        *("//v1/events", "/v1/events/", "//v1//events//", "//v1/batch", "/v1/t/", "//batch/"),
        *("//e", "/2/httpapi/", "//track", "/api/event/", "//api/send", "/api/s/track/"),
        "//com.snowplowanalytics.snowplow/tp2",
    ],
)
def test_slashes_that_an_address_ends_with_lead_to_the_same_route(path: str) -> None:
    body = {
        **{"event": "a", "batch": [{"event": "a"}], "events": [{}], "data": [{"e": "pv"}]},
        **{"payload": {"url": "/"}, "n": "pageview", "d": "x"},
    }
    answer, taken = asked("POST", path, json.dumps(body).encode())
    assert (answer.status_code, len(taken)) == (200, 1), answer.text


@pytest.mark.parametrize(
    "path", ["/i?e=pv&uid=u1", "/ice.png?e=pv&uid=u1", "/pixel/v1/track?event=a&userId=u1"]
)
def test_a_pixel_is_the_same_with_and_without_its_image(path: str) -> None:
    (got, first), (head, second) = asked("GET", path), asked("HEAD", path)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert got.headers["content-length"] == head.headers["content-length"] == str(len(got.content))
    assert got.headers["content-type"] == head.headers["content-type"] == "image/gif"
    assert [one["event"] for one in first] == [one["event"] for one in second]


def test_a_querys_letters_are_utf_8_also_where_they_are_not_escaped() -> None:
    for name in ("Zoë".encode(), b"Zo%C3%AB"):
        scope = {
            **{"type": "http", "method": "GET", "path": "/i", "client": ("192.0.2.7", 1)},
            "query_string": b"e=se&se_ac=a&se_la=" + name,
            "headers": [(b"authorization", b"Bearer KEY")],
        }
        intake = Intake()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(_message: dict[str, Any]) -> None:
            pass

        asyncio.run(App(intake)(scope, receive, send))  # type: ignore[arg-type]
        assert [one["label"] for one in intake.taken] == ["Zoë"]


@pytest.mark.parametrize(
    ("method", "path", "status", "name", "value"),
    [
        ("PUT", "/v1/events", 405, "allow", "OPTIONS, POST"),
        ("POST", "/livez", 405, "allow", "OPTIONS, GET"),
        ("POST", "/v1/events/live", 405, "allow", "OPTIONS, GET"),
        ("DELETE", "/v1/sources/shop/debug", 405, "allow", "OPTIONS, GET"),
        ("POST", "/v1/events", 401, "www-authenticate", "Bearer"),
        ("OPTIONS", "/v1/events", 204, "allow", "GET, POST, OPTIONS"),
    ],
)
def test_an_answer_has_the_headers_that_its_status_asks_for(
    method: str, path: str, status: int, name: str, value: str
) -> None:
    answer, _ = asked(method, path, headers={})
    assert (answer.status_code, answer.headers[name]) == (status, value)
    assert ("content-length" in answer.headers) == (status != 204)


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/events", 429), ("/v1/t", 429), ("/e/", 503), ("/2/httpapi", 429)]
)
def test_who_is_too_fast_is_told_the_limit_too(path: str, status: int) -> None:
    slower = ProblemError(429, "rate_limited", "slower", retry_after=7)
    body = b'{"event": "a", "events": [{}]}'
    answer, _ = asked("POST", path, body, problem=slower)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")
    assert answer.headers["ratelimit"] == '"events";r=0;t=7'


def test_the_description_lists_what_is_served_and_says_which_of_it_takes_events() -> None:
    document = openapi.document()
    routes = {path.replace("*", "{rest}") for one in families.FAMILIES for _, path in one.routes}
    watched = {"/v1/events/live", "/v1/sources/{source_id}/debug", "/health", "/docs"}
    assert routes | watched <= document["paths"].keys()
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    asked_first = {
        path
        for path, methods in document["paths"].items()
        if any("no event" in one["summary"] for one in methods.values())
    }
    assert {"/flags/", "/array/{key}/config", "/sourceConfig", "/v1/m"} <= asked_first
    assert asked_first.isdisjoint({"/v1/events", "/v1/batch", "/batch/", "/track", "/i"})


def visitor(*headers: tuple[str, str], path: str = "/api/event", **sent: Any) -> str:
    """Return whom an event without an id is said to be of."""
    body = json.dumps({"n": "pageview", "u": "https://a.example/", **sent}).encode()
    known = [*KEY.items(), ("user-agent", CHROME), *headers]
    _, [event] = asked("POST", path, body, known)
    return str(event["anonymous_id"])


def test_visitors_behind_one_proxy_are_told_apart() -> None:
    one, two = (
        visitor(("x-forwarded-for", f"{address}, 10.0.0.1"))
        for address in ("192.0.2.7", "192.0.2.8")
    )
    alone = visitor()
    assert len({one, two, alone}) == 3
    lines = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "10.0.0.1")]
    assert visitor(*lines) == one


@pytest.mark.parametrize(
    ("address", "with_a_port"),
    [("192.0.2.7", "192.0.2.7:50123"), ("2001:db8::7", "[2001:db8::7]:50123")],
)
def test_a_visitor_is_the_same_on_another_connection(address: str, with_a_port: str) -> None:
    plain, other = (visitor(("x-forwarded-for", said)) for said in (address, with_a_port))
    assert plain == other


def test_visitors_whom_one_server_sends_for_are_told_apart() -> None:
    def seen(**payload: str) -> str:
        whole = {"type": "event", "payload": {"url": "/", **payload}}
        return visitor(path="/api/send", **whole)

    one = seen(ip="192.0.2.7", userAgent=CHROME)
    assert one == seen(ip="192.0.2.7", userAgent=CHROME)
    assert (
        len({one, seen(ip="192.0.2.8", userAgent=CHROME), seen(ip="192.0.2.7", userAgent="b")}) == 3
    )


def test_an_encoding_that_two_headers_name_is_unpacked_in_turn() -> None:
    packed = brotli.compress(gzip.compress(TEXT.encode()))
    lines = [*KEY.items(), ("content-encoding", "gzip"), ("content-encoding", "br")]
    answer, taken = asked("POST", "/v1/events", packed, lines)
    assert (answer.status_code, taken) == (200, [TEXT.encode()])
