"""Which pages may ask the query API, and how often anybody may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from millrace.access.rights import Rights
from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query import problems
from millrace.api.query.identity import address
from millrace.api.query.protection import protected
from millrace.api.query.throttle import RequestThrottle
from millrace.settings import Settings

OURS = "https://dash.example"
ASKED = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "If-Match"}


def client(*origins: str, url: str = "http://127.0.0.1:18091") -> TestClient:
    app = FastAPI()

    @app.get("/")
    def root() -> str:
        raise RuntimeError

    settings = Settings(query_origins=list(origins), query_url=url)
    return TestClient(protected(app, settings), raise_server_exceptions=False)


@pytest.mark.parametrize("origin", ["https://evil.example", "https://dash.example.evil", "null"])
def test_pages_of_other_origins_get_nothing(origin: str) -> None:
    asking = client(OURS)
    for answer in (
        asking.get("/", headers={"Origin": origin}),
        asking.options("/", headers={"Origin": origin, **ASKED}),
    ):
        assert "access-control-allow-origin" not in answer.headers


def test_pages_of_named_origins_may_ask_without_cookies() -> None:
    asking = client(OURS)
    preflight = asking.options("/", headers={"Origin": OURS, **ASKED})
    assert preflight.status_code == 200
    failed = asking.get("/", headers={"Origin": OURS})  # errors can be read, too
    assert failed.status_code == 500
    for answer in (preflight, failed):
        assert answer.headers["access-control-allow-origin"] == OURS
        assert "access-control-allow-credentials" not in answer.headers
    assert "ETag" in failed.headers["access-control-expose-headers"]


def test_browsers_come_back_by_https_where_people_open_it_so() -> None:
    has: Callable[[httpx.Response], bool] = lambda one: "strict-transport-security" in one.headers  # noqa: E731
    assert has(client(url="https://api.example").get("/"))
    assert not has(client().get("/"))


def test_a_request_id_is_kept_only_where_it_is_one() -> None:
    for given, is_kept in (("a-trace.of_8", True), ("short", False), ("a b c d e f g", False)):
        said = client().get("/", headers={"X-Request-Id": given}).headers["x-request-id"]
        assert (said == given) is is_kept


async def _who_asks_too_often_waits() -> None:
    throttle = RequestThrottle(Settings(query_requests_per_minute=6, query_workers=2))
    with patch("time.time", return_value=1_800_000_013.5):
        standings = [await throttle.take(Principal("ada", "viewer")) for _ in range(3)]
        assert [standing.remaining for standing in standings] == [2, 1, 0]
        assert standings[0].headers() == [
            (b"ratelimit-policy", b'"requests";q=3;w=60'),
            (b"ratelimit", b'"requests";r=2;t=47'),
        ]
        with pytest.raises(ProblemError) as refused:
            await throttle.take(Principal("ada", "viewer"))
        assert (refused.value.status, refused.value.code) == (429, "too_many_requests")
        assert refused.value.retry_after == 47
        assert (await throttle.take(Principal("grace", "viewer"))).remaining == 2
    with patch("time.time", return_value=1_800_000_013.5 + 47):
        assert (await throttle.take(Principal("ada", "viewer"))).remaining == 0


def test_who_asks_too_often_waits_and_nobody_else() -> None:
    asyncio.run(_who_asks_too_often_waits())


def test_cookies_are_all_kept_and_a_header_of_the_answer_stays() -> None:
    app = FastAPI()

    @app.get("/")
    def answer() -> Response:
        made = Response(headers={"Cache-Control": "private", "X-Content-Type-Options": "other"})
        made.set_cookie("one", "1")
        made.set_cookie("two", "2")
        return made

    headers = TestClient(protected(app, Settings())).get("/").headers
    assert len(headers.get_list("set-cookie")) == 2
    assert headers.get_list("cache-control") == ["private"]
    assert headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_has_a_bound(is_chunked: bool) -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    def take(body: dict[str, str]) -> int:
        return len(body)

    asking = TestClient(protected(app, Settings()), raise_server_exceptions=False)
    piece = b'{"a": "' + b"x" * (1 << 20)

    def body(pieces: int) -> Any:
        whole = [piece, *[b"x" * (1 << 20)] * (pieces - 1), b'"}']
        return iter(whole) if is_chunked else b"".join(whole)

    headers = {"Content-Type": "application/json"}
    assert asking.post("/", content=body(1), headers=headers).json() == 1
    refused = asking.post("/", content=body(3), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("lines", "proxies", "found"),
    [
        (["6.6.6.6", "203.0.113.9"], 1, "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], 1, "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9"], 0, "192.0.2.1"),
        ([], 1, "192.0.2.1"),
    ],
)
def test_an_address_is_what_our_own_proxy_says(lines: list[str], proxies: int, found: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    scope = {"type": "http", "headers": headers, "client": ("192.0.2.1", 1)}
    assert address(Request(scope), proxies) == found


@pytest.mark.parametrize(
    ("given", "own", "is_more"),
    [
        (None, None, False),
        (["shop"], None, False),
        (["shop"], {"shop", "web"}, False),
        (["web"], {"shop"}, True),
        (None, {"shop"}, True),
    ],
)
def test_nobody_gives_more_than_they_have(
    given: list[str] | None, own: set[str] | None, is_more: bool
) -> None:
    mine = None if own is None else frozenset(own)
    assert Rights("viewer", given).exceed(Principal("root", "admin", mine)) is is_more
    assert Rights("viewer", None, given).exceed(Principal("root", "admin", None, mine)) is is_more
