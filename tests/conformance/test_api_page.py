"""The ingestion API's page of its paths in a real Chromium: it needs nothing from elsewhere."""

from __future__ import annotations

from tests.helpers import proxy
from tests.helpers.browser import Browser
from tests.helpers.proxy import Reply

from millrace.api.ingestion import openapi

WATCH = """
window.refused = [];
addEventListener("securitypolicyviolation", (e) => refused.push([e.violatedDirective, e.sample]));
"""
ASKED = "performance.getEntriesByType('resource').map((one) => one.name)"
ROWS = "document.querySelectorAll('tr').length"
FONT = "getComputedStyle(document.body).fontFamily"


def test_its_policy_lets_it_be_shown_as_it_is(chromium: Browser) -> None:
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
