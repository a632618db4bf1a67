"""The pages in Airflow's UI: who may see them, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from millrace.quality import docs
from millrace.settings import Settings

REPORT = "reports/2026-11-28/events-5m.html"


@pytest.fixture
def plugin(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    for name in ("millrace_connections", "millrace_data_docs"):
        sys.modules.pop(name, None)
    import millrace_connections
    import millrace_data_docs

    monkeypatch.setattr(millrace_connections, "settings", Settings)  # nothing is asked of a server
    return millrace_data_docs


@pytest.fixture
def browser(plugin: ModuleType) -> Iterator[TestClient]:
    """A browser that is not logged in, at a server that serves what Airflow's does."""
    server = FastAPI()
    for one in plugin.DataDocs.fastapi_apps:
        server.mount(one["url_prefix"], one["app"])
    with TestClient(server, follow_redirects=False) as client:
        yield client


@pytest.fixture
def reader(browser: TestClient, plugin: ModuleType) -> TestClient:
    """The same browser, logged in."""
    from airflow.api_fastapi.core_api.security import get_user

    for app in (plugin.data_docs(), plugin.dbt_docs()):
        app.dependency_overrides[get_user] = lambda: "somebody"
    return browser


@pytest.mark.parametrize("path", [f"/data-docs/{REPORT}?a=b%20c", "/dbt-docs/"])
def test_who_is_not_logged_in_is_led_to_the_login_and_back(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 303
    login = answer.next_request
    assert login
    assert (login.url.path, login.url.params["next"]) == ("/api/v2/auth/login", path)


def test_a_page_that_is_not_there_is_a_page_that_says_so(reader: TestClient) -> None:
    answer = reader.get("/data-docs/reports/..%2f..%2f<b>.html")
    assert answer.status_code == 404
    assert "This page is not there" in answer.text
    assert "&lt;b&gt;" in answer.text
    assert 'href="../../../index.html"' in answer.text
    assert reader.get("/dbt-docs/nosuch.html").status_code == 404


@pytest.mark.parametrize("page", ["../raw.html", "reports/../../raw", "reports//raw", "./raw", ""])
def test_no_page_lies_outside_the_data_docs(page: str) -> None:
    with pytest.raises(FileNotFoundError):  # before anything is asked
        docs.read(Settings(), page)


def test_browsers_run_no_script_but_the_pages_own(reader: TestClient) -> None:
    answer = reader.get("/data-docs/..%2fnosuch.html")
    policy = dict(
        one.strip().split(" ", 1) for one in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"].startswith("'sha256-")
    assert policy["frame-ancestors"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
