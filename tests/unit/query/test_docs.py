"""The page of all routes brings all that it needs, and lets nothing else run."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from millrace.api.query import problems
from millrace.api.query.app import create
from millrace.api.query.protection import protected
from millrace.api.query.routes import docs, me
from millrace.settings import Settings


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(docs_url=None, redoc_url=None)
    problems.install(app)
    app.include_router(docs.router)
    app.include_router(me.router)
    return TestClient(protected(app, Settings()))


def loaded(client: TestClient) -> list[str]:
    """What the page asks for."""
    return re.findall(r'(?:src|href)="([^"]+)"', client.get("/docs").text)


def test_all_that_the_page_loads_is_served_beside_it(client: TestClient) -> None:
    places = loaded(client)
    assert len(places) == len(docs.FILES)  # and openapi.json, in place of the page itself
    for place in places:
        answer = client.get(f"/{place}")
        assert answer.status_code == 200, place
        assert answer.content
        assert answer.headers["x-content-type-options"] == "nosniff"
        expected = {"js": "text/javascript", "css": "text/css", "png": "image/png"}
        kind = expected.get(place.rpartition(".")[2], "application/json")
        assert answer.headers["content-type"].startswith(kind)


def test_the_policy_of_the_page_lets_only_files_of_ours_run(client: TestClient) -> None:
    answer = client.get("/docs")
    policy = dict(
        one.strip().split(" ", 1) for one in answer.headers["content-security-policy"].split(";")
    )
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in str(policy)
    assert not re.search(r"<script>|<style>| style=| on\w+=|//", answer.text.split(">", 1)[1])


def test_what_is_kept_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/docs/swagger-ui.css")
    assert first.headers["content-encoding"] == "gzip"
    again = client.get("/docs/swagger-ui.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get("/docs/swagger-ui.css", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content


def test_the_page_offers_only_ways_to_sign_in_that_a_page_can_use(client: TestClient) -> None:
    assert 'url: "docs/openapi.json"' in client.get("/docs/page.js").text
    whole, shown = (client.get(path).json() for path in ("/openapi.json", "/docs/openapi.json"))
    ways = whole["components"]["securitySchemes"]
    assert {scheme.get("in") for scheme in ways.values()} == {None, "cookie"}
    assert shown["components"]["securitySchemes"] == {"HTTPBearer": ways["HTTPBearer"]}
    operations = [one["paths"]["/v1/me"]["get"] for one in (whole, shown)]
    assert [one.pop("security") for one in operations][1] == [{"HTTPBearer": []}]
    assert operations[0] == operations[1]
    del whole["components"]["securitySchemes"], shown["components"]["securitySchemes"]
    assert whole["components"] == shown["components"]


def test_every_route_says_in_a_line_what_it_is_for() -> None:
    """By itself FastAPI would show the name of its function: "Come Back", "Jwks"."""
    app = create(Settings())
    routes = [one for one in app.routes if isinstance(one, APIRoute) and one.include_in_schema]
    named = {route.unique_id: route.name.replace("_", " ").title() for route in routes}
    operations = [one for methods in app.openapi()["paths"].values() for one in methods.values()]
    assert len(operations) == len(routes)
    for one in operations:
        summary = one["summary"]
        assert summary != named[one["operationId"]]
        assert len(summary) <= 90
        assert summary[0].isupper()
        assert not re.search(r"[`.]", summary)
        assert one.get("description", "") not in (summary, f"{summary}.")


@pytest.mark.parametrize("name", ["docs.html", "__init__.py", "..%2Fapp.py", "none"])
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/docs/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
def test_no_page_is_left_that_loads_from_elsewhere(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
