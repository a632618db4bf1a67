"""The page of all routes in a real Chromium: it needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
from tests.helpers import browser
from tests.helpers.browser import Browser, Page
from tests.helpers.wait import until

from millrace.access import tickets
from millrace.access.signing import Seal
from millrace.settings import Settings

WATCH = """
window.wrong = [];
addEventListener("securitypolicyviolation", (e) => wrong.push([e.violatedDirective, e.blockedURI]));
addEventListener("error", (e) => wrong.push(String(e.message ?? e.target?.src ?? e.type)), true);
addEventListener("unhandledrejection", (e) => wrong.push(String(e.reason)));
"""
ELSEWHERE = """
performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith(origin))
"""
SHOWN = "document.querySelectorAll('.opblock').length"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.running() as running:
        yield running


def unharmed(page: Page) -> bool:
    """Tell that nothing failed or was refused, and nothing was asked of other servers."""
    assert page.run("wrong") == []
    assert page.run(ELSEWHERE) == []
    return True


def test_the_page_shows_every_route_and_asks_nobody_else(query_api: str, chromium: Browser) -> None:
    paths = httpx.get(f"{query_api}/openapi.json").json()["paths"]
    count = sum(len(methods) for methods in paths.values())
    page = chromium.open(WATCH)
    page.goto(f"{query_api}/docs")
    until(lambda: page.run(SHOWN) == count, 60)
    assert unharmed(page)
    page.click(".authorize")
    until(lambda: page.run("!!document.querySelector('.modal-ux')"), 30)
    offered = page.run("document.querySelector('.modal-ux').innerText")
    assert "HTTPBearer" in offered
    assert "millrace_access" not in offered, "no script can set a cookie of a request"
    assert unharmed(page)
    chromium.close(page)


def test_who_comes_over_from_airflow_can_try_what_changes_something(
    query_api: str, chromium: Browser, settings: Settings
) -> None:
    paths = httpx.get(f"{query_api}/openapi.json").json()["paths"]
    ticket = tickets.issue(Seal(settings), "Docs", {"Viewer"})
    page = chromium.open(WATCH)
    place = urlencode({"ticket": ticket, "next": "/docs"})
    page.goto(f"{query_api}/v1/airflow/session?{place}")
    page.arrive(f"{query_api}/docs")
    until(lambda: page.run("fetch('/v1/me').then((answer) => answer.ok)"), 10)

    route = f"#operations-people-{paths['/v1/logout']['post']['operationId']}"
    page.click(f"{route} .opblock-summary")
    page.click(f"{route} .try-out__btn")
    page.click(f"{route} .execute")
    status = (
        f"document.querySelector('{route} .live-responses-table .response .response-col_status')"
    )
    until(lambda: page.run(f"{status}?.innerText.trim()") == "204", 30)
    assert unharmed(page)
    chromium.close(page)
