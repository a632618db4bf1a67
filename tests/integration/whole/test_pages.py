"""The pages in Airflow's menu as a browser meets them: behind the login, held to their policy."""

from __future__ import annotations

from io import BytesIO

import httpx
import pytest
from tests.helpers import browser, wait

from millrace.quality import docs
from millrace.stack import airflow
from millrace.stack.stack import Stack
from millrace.stores import objects

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def token(airflow_stack: Stack) -> str:
    """Airflow's token of the administrator."""
    with airflow.api(airflow_stack.settings, airflow_stack.secrets) as api:
        return api.headers["authorization"].removeprefix("Bearer ")


def test_pages_are_for_who_is_logged_in(airflow_stack: Stack, token: str) -> None:
    settings = airflow_stack.settings
    missing = "/data-docs/reports/2000-01-01/nosuch.html"
    html = {"accept": "text/html"}
    with httpx.Client(base_url=settings.airflow_url, timeout=60, headers=html) as browser:
        assert browser.get(missing).status_code == 303
        assert browser.get(missing, headers={"accept": "*/*"}).status_code == 401
        wrong = {"authorization": "Bearer nonsense"}
        assert browser.get(missing, headers=wrong).status_code == 403
        browser.cookies.set("_token", "of another day")
        assert browser.get(missing).status_code == 303
    with httpx.Client(
        cookies={"_token": token}, base_url=settings.airflow_url, timeout=60
    ) as reader:
        answer = reader.get(missing)
        assert answer.status_code == 404
        assert "This page is not there" in answer.text


def test_a_browser_comes_through_the_login_and_runs_only_what_pages_bring(
    airflow_stack: Stack,
) -> None:
    settings, page_name = airflow_stack.settings, "reports/2000-01-01/hostile.html"
    hostile = docs.missing("nothing").replace(
        "</main>",
        '<time id="moment" datetime="2000-01-01T00:00:00Z"></time><p id="age"></p>'
        '<script>document.title = "taken"</script></main>',
    )
    content = hostile.encode()
    objects.connect(settings).put_object(
        settings.s3_bucket, f"{docs.PREFIX}/{page_name}", BytesIO(content), len(content)
    )
    with browser.running() as chromium:
        page = chromium.open()
        address = f"{settings.airflow_url}/data-docs/{page_name}"
        page.goto(address)
        page.fill("input[name=username]", airflow.USER)
        page.fill("input[name=password]", airflow_stack.secrets["MILLRACE_AIRFLOW_PASSWORD"])
        page.click("button[type=submit]")
        page.arrive(address)
        wait.until(lambda: "ago" in page.run("document.getElementById('age')?.innerText ?? ''"), 30)
        assert page.run("document.title") == "Page not found · Millrace"

        page.goto(f"{settings.airflow_url}/dbt-docs/#!/model/model.millrace.metrics_1min")
        wait.until(lambda: "Referenced By" in page.run("document.body.innerText"), 60)
        assert page.run("origin") == "null"  # none of Airflow's: no login, no network
