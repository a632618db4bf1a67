"""Signing in at an OpenID provider, which is a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient
from tests.helpers.openid_provider import CLIENT
from tests.helpers.wait import until

from millrace.access import users
from millrace.access.rights import Rights
from millrace.api.query.app import create
from millrace.api.query.protection import protected
from millrace.settings import Settings
from millrace.stores import postgres


@pytest.fixture(scope="module")
def issuer(repository: Path) -> Iterator[str]:
    """The address of a running provider."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.openid_provider"],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def settings_of(settings: Settings, issuer: str, **changes: Any) -> Settings:
    return settings.model_copy(
        update={
            "oidc_issuer": issuer,
            "oidc_client_id": CLIENT[0],
            "oidc_client_secret": SecretStr(CLIENT[1]),
            "oidc_roles": {"analysts": "analyst", "staff": "viewer", "ops": "operator"},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def api(settings: Settings, issuer: str) -> Iterator[TestClient]:
    """The query API with that provider, in this process."""
    configured = settings_of(settings, issuer)
    app = protected(create(configured), configured)
    with TestClient(app, base_url=settings.query_url, follow_redirects=False) as client:
        yield client


@pytest.fixture
def browser(api: TestClient) -> TestClient:
    """A browser that has no cookies."""
    api.cookies.clear()
    return api


def at_provider(browser: TestClient, person: dict[str, Any], page: str = "/") -> str:
    """Sign somebody in at the provider; return where it sends the browser."""
    there = browser.get("/v1/oidc/login", params={"next": page})
    assert there.status_code == 303, there.text
    url = httpx.URL(there.headers["location"]).copy_merge_params({"person": json.dumps(person)})
    back = httpx.get(url)
    assert back.status_code == 302, back.text
    return str(back.headers["location"])


def signed_in(browser: TestClient, person: dict[str, Any], page: str = "/") -> httpx.Response:
    return browser.get(at_provider(browser, person, page))


def person(name: str, *groups: str, **more: Any) -> dict[str, Any]:
    return {"claims": {"sub": f"id-{name}", "preferred_username": name, "groups": groups}} | more


def known(browser: TestClient) -> dict[str, Any]:
    until(lambda: browser.get("/v1/me").is_success, 5)
    content: dict[str, Any] = browser.get("/v1/me").json()
    return content


def test_whom_the_provider_vouches_for_is_signed_in(
    browser: TestClient, settings: Settings
) -> None:
    answer = signed_in(browser, person("Lise", "staff", "analysts", "others"), "/dashboards/7?a=b")
    assert answer.status_code == 200, answer.text
    assert 'content="0;url=/dashboards/7?a=b"' in answer.text
    assert (known(browser)["name"], known(browser)["role"]) == ("lise", "analyst")
    signed_in(browser, person("Lise", "ops"))
    until(lambda: known(browser)["role"] == "operator", 5)
    with postgres.connect(settings) as connection:
        user = users.find(connection, "lise")
        assert user.subject == "id-Lise"
        with pytest.raises(users.AccessError, match="signs in at"):
            users.set_password(connection, "lise")
        users.change(connection, "lise", user.rights, is_active=False)
    assert signed_in(browser, person("Lise", "ops")).status_code == 401


def test_what_the_id_token_lacks_is_asked_for(browser: TestClient) -> None:
    somebody = {
        "claims": {"sub": "7"},
        "userinfo": {"preferred_username": "emmy", "groups": "staff"},
    }
    assert signed_in(browser, somebody).status_code == 200
    assert known(browser)["name"] == "emmy"


@pytest.mark.parametrize(
    "spoil",
    ["nonce", "audience", "issuer", "expired", "party", "unsigned", "shared", "forged"],
)
def test_a_spoilt_id_token_lets_nobody_in(browser: TestClient, spoil: str) -> None:
    answer = signed_in(browser, person("eve", "analysts", spoil=spoil))
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_failed")
    assert browser.get("/v1/me").status_code == 401


def test_a_sign_in_belongs_to_the_browser_that_began_it(browser: TestClient) -> None:
    url = at_provider(browser, person("mallory", "analysts"))
    cookie = browser.cookies["millrace_oidc"]
    browser.cookies.clear()
    assert browser.get(url).status_code == 401  # nobody signs another in as themselves
    at_provider(browser, person("victim", "analysts"))
    assert "not the sign-in" in browser.get(url).json()["detail"]
    browser.cookies.clear()
    browser.cookies.set("millrace_oidc", cookie, path="/v1/oidc")
    assert browser.get(url).status_code == 200
    browser.cookies.set("millrace_oidc", cookie, path="/v1/oidc")
    assert browser.get(url).status_code == 401  # a code works once


def test_who_has_no_role_or_another_ones_name_is_not_let_in(
    browser: TestClient, settings: Settings
) -> None:
    assert "has no role" in signed_in(browser, person("nora", "others")).json()["detail"]
    with postgres.connect(settings) as connection:
        users.add(connection, "local", Rights("viewer"))
    assert "already" in signed_in(browser, person("local", "analysts")).json()["detail"]


def test_nobody_is_led_to_another_site(browser: TestClient) -> None:
    for page in ("https://evil.example", "//evil.example", "/\\evil.example", '/"><script>'):
        answer = signed_in(browser, person("ivy", "staff"), page)
        assert "evil" not in answer.text
        assert "<script>" not in answer.text
    assert re.search(r'url=/"', answer.text) is None


def test_keys_of_the_provider_may_change(browser: TestClient, issuer: str) -> None:
    assert signed_in(browser, person("otto", "staff")).status_code == 200
    httpx.get(f"{issuer}/rotate").raise_for_status()
    assert signed_in(browser, person("otto", "staff")).status_code == 200


def test_an_address_needs_to_be_verified(settings: Settings, issuer: str) -> None:
    configured = settings_of(
        settings, issuer, oidc_name_claim="email", oidc_default_role="viewer", oidc_roles={}
    )
    with TestClient(
        create(configured), base_url=settings.query_url, follow_redirects=False
    ) as client:
        claims = {"sub": "mail", "email": "max@example.org", "groups": []}
        refused = signed_in(client, {"claims": claims | {"email_verified": False}})
        assert "has not verified" in refused.json()["detail"]
        assert signed_in(client, {"claims": claims | {"email_verified": True}}).status_code == 200


def test_without_a_provider_or_its_answer_the_browser_is_told(
    settings: Settings, query_api: str
) -> None:
    assert httpx.get(f"{query_api}/v1/oidc/login").status_code == 404
    configured = settings_of(settings, "http://127.0.0.1:9")
    with TestClient(create(configured), base_url=settings.query_url) as client:
        answer = client.get("/v1/oidc/login")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
