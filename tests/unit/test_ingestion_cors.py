"""What browsers are told, and which pages may send with a key."""

from __future__ import annotations

import pytest

from millrace.access.keys import Key
from millrace.api.http import ProblemError
from millrace.api.ingestion import cors

ASKED = {
    "origin": "https://shop.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,x-funky-sdk",
}


def key(*origins: str) -> Key:
    return Key("id", "web", "events", b"", allowed_origins=origins)


def test_a_preflight_echoes_the_origin_and_mirrors_the_headers() -> None:
    assert cors.is_preflight("OPTIONS", ASKED)
    assert not cors.is_preflight("POST", ASKED)
    answer = cors.preflight(ASKED)
    assert answer["access-control-allow-origin"] == "https://shop.example"
    assert answer["access-control-allow-credentials"] == "true"
    assert answer["access-control-allow-headers"] == "authorization,x-funky-sdk"
    assert answer["access-control-max-age"] == "86400"
    assert "POST" in answer["access-control-allow-methods"]
    assert answer["vary"] == "Origin, Access-Control-Request-Headers"


def test_an_answer_can_be_read_by_the_page_that_asked() -> None:
    answer = cors.answered(ASKED)
    assert answer["access-control-allow-origin"] == "https://shop.example"
    assert {"Retry-After", "RateLimit"} <= set(answer["access-control-expose-headers"].split(", "))
    assert answer["vary"] == "Origin"
    assert cors.answered({}) == {}


@pytest.mark.parametrize(
    ("origins", "origin"),
    [
        ([], "https://anything.example"),
        (["https://shop.example"], "https://shop.example"),
        (["https://shop.example"], None),
        (["https://*.shop.example"], "https://eu.shop.example"),
        (["https://*.shop.example"], "https://a.b.shop.example"),
        (["http://localhost:3000"], "http://localhost:3000"),
        (["https://*.shop.example:8443"], "https://eu.shop.example:8443"),
    ],
)
def test_pages_of_the_keys_origins_may_send(origins: list[str], origin: str | None) -> None:
    cors.check(key(*origins), {"origin": origin} if origin else {})


@pytest.mark.parametrize(
    ("origins", "origin"),
    [
        (["https://shop.example"], "https://evil.example"),
        (["https://shop.example"], "http://shop.example"),
        (["https://shop.example"], "https://shop.example:8443"),
        (["https://shop.example"], "https://shop.example.evil.example"),
        (["https://shop.example"], "null"),
        (["https://*.shop.example"], "https://shop.example"),
        (["https://*.shop.example"], "https://evilshop.example"),
        (["https://*.shop.example"], "http://eu.shop.example"),
        (["https://*.shop.example"], "https://eu.shop.example:8443"),
        (["https://*.shop.example"], "https://eu.shop.example.evil.example"),
    ],
)
def test_other_pages_may_not(origins: list[str], origin: str) -> None:
    with pytest.raises(ProblemError) as raised:
        cors.check(key(*origins), {"origin": origin})
    assert (raised.value.status, raised.value.code) == (403, "origin_not_allowed")
    assert origin in raised.value.detail
