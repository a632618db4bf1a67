"""A provider that answers with something else than it should is named, and ends in no traceback."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from millrace.access.oidc import NEEDED, Provider, ProviderError
from millrace.settings import Settings

ISSUER = "https://id.example.com"
KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
GOOD = {"issuer": ISSUER, "keys": [KEY], **{name: f"{ISSUER}/{name}" for name in NEEDED}}


def provider() -> Provider:
    return Provider(Settings(oidc_issuer=ISSUER, oidc_client_id="millrace"))


def answering(monkeypatch: pytest.MonkeyPatch, **answer: Any) -> None:
    def get(url: str, **_options: Any) -> httpx2.Response:
        return httpx2.Response(200, request=httpx2.Request("GET", url), **answer)

    monkeypatch.setattr(httpx2, "get", get)


@pytest.mark.parametrize("name", NEEDED)
def test_what_the_configuration_lacks_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    answering(monkeypatch, json={key: value for key, value in GOOD.items() if key != name})
    with pytest.raises(ProviderError, match=f"names no {name}"):
        provider().begin()


@pytest.mark.parametrize("body", ["<html>", "[1]", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"])
def test_an_answer_that_is_no_object_is_said_to_be_none(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    answering(monkeypatch, text=body)
    with pytest.raises(ProviderError, match="no JSON object"):
        provider().begin()


def test_a_provider_that_answers_as_one_is_gone_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, json=GOOD)
    url, pending = provider().begin()
    assert url.startswith(f"{ISSUER}/authorization_endpoint?")
    assert pending.state in url
