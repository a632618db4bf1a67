"""The APIs' pages of their routes in a real Chromium, without the servers behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from tests.helpers import proxy
from tests.helpers.browser import Browser
from tests.helpers.proxy import Proxy, Reply, Sent

from millrace import waiting
from millrace.api.ingestion import openapi
from millrace.api.query.app import create
from millrace.api.query.protection import protected
from millrace.settings import Settings

WATCH = """
window.refused = [];
addEventListener("securitypolicyviolation", (e) => refused.push([e.violatedDirective, e.sample]));
"""
ASKED = "performance.getEntriesByType('resource').map((one) => one.name)"
ROWS = "document.querySelectorAll('tr').length"
FONT = "getComputedStyle(document.body).fontFamily"


@pytest.fixture
def query_pages() -> Iterator[Proxy]:
    """The query API's pages, as they are without any other server."""
    app = create(Settings())

    def judge(sent: Sent) -> Reply:
        answer = TestClient(protected(app, Settings())).get(sent.path)
        shown = ("content-security-policy", "x-content-type-options")
        headers = {name: answer.headers[name] for name in shown}
        kind = answer.headers["content-type"]
        return Reply(200, text=answer.content, kind=kind, headers=headers)

    with proxy.running(judge=judge) as running:
        yield running


def test_the_query_apis_page_says_what_it_is_while_it_lacks_its_script(
    query_pages: Proxy, chromium: Browser
) -> None:
    page = chromium.open("Object.defineProperty(window, 'SwaggerUIBundle', { value: undefined });")
    page.goto(f"{query_pages.url}/docs")
    assert "openapi.json" in page.run("document.body.innerText")
    assert page.run("document.querySelector('p a').href") == f"{query_pages.url}/openapi.json"
    chromium.close(page)
    whole = chromium.open(WATCH)
    whole.goto(f"{query_pages.url}/docs")
    waiting.until(
        lambda: whole.run("document.querySelector('.opblock') !== null"), "a route", seconds=60
    )
    assert "being loaded" not in whole.run("document.body.innerText")
    assert whole.run("refused") == []
    chromium.close(whole)


def test_the_ingestion_apis_policy_lets_its_page_be_shown_as_it_is(chromium: Browser) -> None:
    held = {"Content-Security-Policy": openapi.POLICY}
    reply = Reply(200, text=openapi.page(), kind="text/html; charset=utf-8", headers=held)
    with proxy.running(judge=lambda _: reply) as api:
        page = chromium.open(WATCH)
        page.goto(f"{api.url}/docs")
        count = sum(len(methods) for methods in openapi.document()["paths"].values())
        assert page.run(ROWS) == count
        assert page.run(FONT) == "system-ui"
        assert page.run("refused") == []
        assert [name for name in page.run(ASKED) if not name.startswith(api.url)] == []
        page.run("document.body.append(document.createElement('style'))")
        page.run("document.querySelector('style:last-of-type').textContent = 'p{color:red}'")
        assert page.run("refused.length") > 0
        chromium.close(page)
