"""Fixtures of the conformance tests: a server to read from, and sites that browsers look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance import tracker_bed
from tests.helpers import browser, proxy
from tests.helpers.browser import Browser, Page
from tests.helpers.proxy import Proxy, Reply, Sent

from millrace.lab import engines
from millrace.lab.engines import Engine


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A ClickHouse server with raw events, an input of marts, and a mart."""
    with engines.running(tmp_path_factory.mktemp("conformance") / "server") as started:
        for database in ("millrace", "analytics"):
            started.text(f"CREATE DATABASE {database}", database="default")
        for table in ("millrace.raw_events", "analytics.stg_events"):
            started.text(f"CREATE TABLE {table} (id UInt64) ENGINE = MergeTree ORDER BY id")
        started.text(
            "CREATE TABLE analytics.daily_sessions (day Date, sessions UInt64) "
            "ENGINE = MergeTree ORDER BY day"
        )
        started.text(
            "INSERT INTO analytics.daily_sessions VALUES ('2024-01-01', 40), ('2024-01-02', 2)"
        )
        yield started


@pytest.fixture
def api() -> Iterator[Proxy]:
    """What the web tracker comes from and sends to."""
    with proxy.running(judge=tracker_bed.api_of_script) as running:
        yield running


@pytest.fixture
def shop(api: Proxy) -> Iterator[Proxy]:
    """A site of another origin, whose pages load the script; what follows # sets up its tag."""

    def page(sent: Sent) -> Reply:
        data = "" if "?" not in sent.path else sent.path.partition("?")[2]
        data = data.replace("&", " ") + " data-wait=100"  # of two, the first counts
        tag = f'<script defer src="{api.url}/m.js" data-key="mk" {data}></script>'
        return Reply(200, text=f"<title>Shop</title>{tag}", kind="text/html")

    with proxy.running(judge=page) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser."""
    with browser.running() as running:
        yield running


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in it, of a visitor who was never there."""
    opened = chromium.open()
    yield opened
    chromium.close(opened)
