"""The pages in Airflow's UI: who may see them, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from millrace.quality import docs
from millrace.settings import Settings

REPORT = "reports/2026-11-28/events-5m.html"


PAGES = [f"/data-docs/{REPORT}?a=b%20c", "/dbt-docs/", "/query-api/?next=%2Fv1%2Fme"]


@dataclass(frozen=True)
class User:
    """Somebody who is logged in to Airflow."""

    role: str

    def get_name(self) -> str:
        """Return what they are called."""
        return "marie"


@dataclass(frozen=True)
class Plugins:
    """The plugins that add pages."""

    docs: ModuleType
    session: ModuleType

    def log_in(self, role: str) -> None:
        """Have Airflow say that whoever asks is logged in."""
        from airflow.api_fastapi.core_api.security import get_user

        for app in (self.docs.data_docs(), self.docs.dbt_docs(), self.session.entrance()):
            app.dependency_overrides[get_user] = lambda: User(role)


@pytest.fixture
def plugins(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    monkeypatch.syspath_prepend(str(repository / "plugins"))
    monkeypatch.setenv("MILLRACE_QUERY_KEY", "a key that seals")
    for name in ("connections", "data_docs", "query_session"):
        sys.modules.pop(f"millrace_{name}", None)
    import millrace_connections
    import millrace_data_docs
    import millrace_query_session

    monkeypatch.setattr(millrace_connections, "settings", Settings)  # nothing is asked of a server
    return Plugins(millrace_data_docs, millrace_query_session)


@pytest.fixture
def browser(plugins: Plugins) -> Iterator[TestClient]:
    """A browser that is not logged in, at a server that serves what Airflow's does."""
    server = FastAPI()
    for one in (*plugins.docs.DataDocs.fastapi_apps, *plugins.session.QuerySession.fastapi_apps):
        server.mount(one["url_prefix"], one["app"])
    headers = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with TestClient(server, headers=headers, follow_redirects=False) as client:
        yield client


@pytest.fixture
def reader(browser: TestClient, plugins: Plugins) -> TestClient:
    """The same browser, logged in."""
    plugins.log_in("viewer")
    return browser


@pytest.mark.parametrize("path", PAGES)
def test_who_is_not_logged_in_is_led_to_the_login_and_back(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 303
    login = answer.next_request
    assert login
    assert (login.url.path, login.url.params["next"]) == ("/api/v2/auth/login", path)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_a_program_that_is_not_logged_in_is_told(
    browser: TestClient, path: str, accept: str
) -> None:
    answer = browser.get(path, headers={"accept": accept})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})


def test_who_has_no_role_that_counts_is_told_and_not_led_in_a_circle(
    browser: TestClient, plugins: Plugins
) -> None:
    plugins.log_in("public")
    answer = browser.get("/query-api/")
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("marie has none of Airflow's roles")


@pytest.mark.parametrize(
    ("base_url", "prefix"),
    [("https://host/airflow/", "/airflow"), ("https://host/a/b", "/a/b"), ("https://host", "")],
)
def test_the_menu_leads_below_the_path_of_airflows_address(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, base_url: str, prefix: str
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    plugins: Plugins = request.getfixturevalue("plugins")
    views = (
        *plugins.docs.DataDocs.external_views,
        *plugins.session.QuerySession.external_views,
    )
    assert [one["href"] for one in views] == [
        f"{prefix}/data-docs/index.html", f"{prefix}/dbt-docs/index.html", f"{prefix}/query-api/",
    ]  # fmt: skip
    server = FastAPI(root_path=prefix)
    server.mount("/dbt-docs", plugins.docs.dbt_docs())
    with TestClient(server, follow_redirects=False) as client:
        path = f"{prefix}/dbt-docs/index.html"
        login = client.get(path, headers={"accept": "text/html"}).next_request
    assert login
    assert (login.url.path, login.url.params["next"]) == (f"{prefix}/api/v2/auth/login", path)


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
