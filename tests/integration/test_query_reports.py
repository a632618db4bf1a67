"""Reports over HTTP: saved by those who may, made, stored, and sent to nobody twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.helpers.administration import changed_once, deleted, sent_at_once

from millrace import waiting
from millrace.access import tokens
from millrace.alerts import repository
from millrace.alerts.model import Route
from millrace.reports import service, store
from millrace.reports.sending import Made, SendingError
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

sys.path.insert(0, str(Path(__file__).parents[2] / "sdk" / "python" / "src"))

from millrace_client import QueryClient, QueryError

Clients = Mapping[str, httpx.Client]


DEFINITIONS = """
CREATE VIEW analytics.metric_definitions AS
SELECT
    'page_views' AS metric_name, 'Views of a page' AS meaning, 'views' AS unit, 'sum' AS kind,
    ['country'] AS dimensions, toUInt32(60) AS grain_seconds, 'events' AS model
"""
ROLLUPS = """
CREATE VIEW analytics.metric_rollups AS
SELECT
    'page_views' AS metric_name, toUInt8(0) AS position, 'events' AS model,
    toUInt32(0) AS grain_seconds, 'event_time' AS time_column, 'count()' AS value,
    'event_type = \\'page_view\\'' AS condition, '' AS present,
    map('country', 'country') AS dimensions, 'source_id' AS source_column,
    toBool(true) AS is_divisible, ['events'] AS tables
"""


@pytest.fixture(scope="module", autouse=True)
def metrics(query_clients: Clients, settings: Settings) -> Iterator[None]:
    """What reports ask for, on a stack whose models may not be deployed."""
    with clickhouse.connect(settings) as client:
        client.command("CREATE DATABASE IF NOT EXISTS analytics")
        made = not int(str(client.command("EXISTS TABLE analytics.metric_rollups")))
        for statement in (DEFINITIONS, ROLLUPS) if made else ():
            client.command(statement)
        known = lambda: query_clients["viewer"].get("/v1/metrics?name=page_views").is_success  # noqa: E731
        waiting.until(known, "the API to know the metric", seconds=60)
        yield
        for name in ("metric_definitions", "metric_rollups") if made else ():
            client.command(f"DROP VIEW analytics.{name}")


@pytest.fixture(autouse=True)
def routes(settings: Settings) -> Iterator[None]:
    """Routes that reports can take, and one that wakes people."""
    made = (
        Route("numbers", "slack", "slack_alerts", {"channel": "#numbers"}),
        Route("letters", "email", "email_alerts", {"to": "all@example.com"}),
        Route("hook", "webhook", "webhook_alerts"),
        Route("pager", "pagerduty", "pagerduty_alerts"),
    )
    with postgres.connect(settings) as connection:
        for route in made:
            repository.save_route(connection, route)
        yield
        names = [route.name for route in made]
        connection.execute("DELETE FROM reports")
        connection.execute("DELETE FROM alert_routes WHERE name = ANY(%s)", [names])


def report(**changes: Any) -> dict[str, Any]:
    return {
        "title": "The week",
        "panels": [{"title": "Views", "question": {"name": "page_views", "range": "7d"}}],
        "recipients": [
            {"route": "numbers"},
            {"route": "letters", "config": {"to": "ana@example.com"}},
        ],
        **changes,
    }


class Post:
    """Takes what is sent, and refuses mail as long as it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Mapping[str, str], Made]] = []
        self.refuses_mail = False

    def slack(self, connection_id: str, config: Mapping[str, str], made: Made) -> dict[str, Any]:
        """Post."""
        self.sent.append((connection_id, config, made))
        return {"ts": "1"}

    def email(self, connection_id: str, config: Mapping[str, str], made: Made) -> dict[str, Any]:
        """Mail."""
        if self.refuses_mail:
            raise SendingError("mail: full")
        return self.slack(connection_id, config, made)

    def senders(self) -> dict[str, Any]:
        """Return the senders by kind of route."""
        return {"slack": self.slack, "email": self.email}


def test_a_report_reaches_each_recipient_once_and_its_page_is_kept(
    query_clients: Clients, settings: Settings
) -> None:
    analyst, post = query_clients["analyst"], Post()
    analyst.put("/v1/reports/weekly", json=report()).raise_for_status()
    post.refuses_mail = True
    with pytest.raises(SendingError, match="letters: mail: full"):
        service.make(settings, "weekly", "run 1", "ana", post.senders())
    post.refuses_mail = False
    made = service.make(settings, "weekly", "run 1", "ana", post.senders())
    assert (made["unanswered"], made["recipients"]) == ([], 2)
    service.make(settings, "weekly", "run 1", "ana", post.senders())
    assert [(place, config) for place, config, _made in post.sent] == [
        ("slack_alerts", {"channel": "#numbers"}),
        ("email_alerts", {"to": "ana@example.com"}),
    ]
    page = post.sent[1][2].page
    assert "<h1>The week</h1>" in page
    assert httpx.get(post.sent[1][2].link).text == page

    (run,) = analyst.get("/v1/reports/weekly/runs").raise_for_status().json()
    assert (run["requested_by"], run["last_error"], bool(run["sent_at"])) == ("ana", "", True)
    assert sorted(run["receipts"]) == ["letters(to=ana@example.com)", "numbers"]
    shown = analyst.get(f"/v1/reports/weekly/runs/{run['run_id']}/page")
    assert shown.headers["content-type"].startswith("text/html")
    assert "sandbox" in shown.headers["content-security-policy"]
    assert "<h1>The week</h1>" in shown.text
    assert service.expire(settings, datetime.now(UTC)) == "0 pages of reports"
    later = datetime.now(UTC) + timedelta(days=settings.report_retention_days + 1)
    assert service.expire(settings, later) == "1 pages of reports"
    assert httpx.get(post.sent[1][2].link).status_code == 404

    again = service.make(settings, "weekly", "run 2", "ana", post.senders())
    with postgres.connect(settings) as connection:
        store.remove(connection, "weekly", "ana")
    assert httpx.get(again["link"]).status_code == 200
    assert service.expire(settings, later) == "1 pages of reports"
    assert httpx.get(again["link"]).status_code == 404

    analyst.put("/v1/reports/weekly", json=report()).raise_for_status()
    missing = analyst.get("/v1/reports/weekly/runs/999999/page")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_report")


def test_the_python_client_asks_the_running_api(query_clients: Clients) -> None:
    viewer = query_clients["viewer"]
    token = viewer.headers["authorization"].removeprefix("Bearer ")
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    asked = {"range": f"{begin:%Y-%m-%d}/{begin:%Y-%m-%d}", "interval": "1h"}
    with QueryClient(str(viewer.base_url), token) as client:
        answers = (
            client.metrics("page_views", **asked, filter={"country": "DE"}, compare="1d"),
            client.query({"metrics": ["page_views"], **asked, "compare": "1d"}),
        )
        with pytest.raises(QueryError) as refused:
            client.metrics("nosuch")
    for answer in answers:
        assert [row.start for row in answer.rows] == [begin + timedelta(hours=n) for n in range(24)]
        assert {row.metric for row in answer.rows} == {"page_views"}
        assert answer.complete_until.tzinfo is not None
        assert len(answer.to_polars()) == len(answer.to_pandas()) == 24
    assert (refused.value.status, refused.value.code) == (422, "unknown_metric")
    assert "page_views" in refused.value.detail


def test_a_scheduled_report_is_due_once_for_a_moment_after_it_was_scheduled(
    query_clients: Clients, settings: Settings
) -> None:
    daily = {"every": "day", "at": "07:00"}
    query_clients["analyst"].put("/v1/reports/daily", json=report(schedule=daily, recipients=[]))
    now = datetime.now(UTC)
    assert service.due(settings, now) == []  # its last moment was before there was a report
    tomorrow = now + timedelta(days=1)
    moment = tomorrow.replace(hour=7, minute=0, second=0, microsecond=0)
    if moment > tomorrow:
        moment -= timedelta(days=1)
    due = service.due(settings, tomorrow)
    assert due == [{"report": "daily", "due": f"{moment:%Y-%m-%dT07:00Z}"}]
    service.make(settings, "daily", due[0]["due"], "schedule", {})
    assert service.due(settings, tomorrow) == []
    changed_once(
        query_clients["analyst"],
        "/v1/reports/daily",
        report(schedule=daily, recipients=[], is_active=False),
        "PUT",
    )
    assert service.due(settings, now + timedelta(days=5)) == []


def test_a_report_is_its_owners_and_the_admins(query_clients: Clients) -> None:
    analyst, operator, admin = (query_clients[role] for role in ("analyst", "operator", "admin"))
    assert analyst.put("/v1/reports/mine", json=report()).json()["owner"] == "token:tests-analyst"
    assert operator.put("/v1/reports/mine", json=report()).status_code == 403
    anyway = {"If-Match": "*"}
    assert operator.delete("/v1/reports/mine", headers=anyway).status_code == 403
    changed = changed_once(admin, "/v1/reports/mine", report(title="Theirs"), "PUT").json()
    assert (changed["owner"], changed["title"]) == ("token:tests-analyst", "Theirs")
    assert "mine" in [one["name"] for one in operator.get("/v1/reports").json()]
    assert query_clients["viewer"].get("/v1/reports").status_code == 403
    deleted(analyst, "/v1/reports/mine")
    for verb in ("GET", "DELETE"):
        gone = analyst.request(verb, "/v1/reports/mine", headers=anyway)
        assert (gone.status_code, gone.json()["code"]) == (404, "unknown_report")
    gone = analyst.put("/v1/reports/mine", json=report(), headers=anyway)
    assert (gone.status_code, gone.json()["code"]) == (412, "changed_meanwhile")


def test_who_may_see_a_part_has_no_reports_and_no_jobs(
    query_clients: Clients, query_api: str, settings: Settings
) -> None:
    """A report shows what its token may see, and a job works on everything."""
    query_clients["analyst"].put("/v1/reports/all", json=report()).raise_for_status()
    for rights in ({"sources": ["web"]}, {"datasets": ["sessions"]}):
        with postgres.connect(settings) as connection:
            new = tokens.NewToken(f"part-{next(iter(rights))}", "admin", **rights)
            headers = {"Authorization": f"Bearer {tokens.add(connection, new)}", "If-Match": "*"}
        with httpx.Client(base_url=query_api, headers=headers) as part:
            waiting.until(lambda part=part: part.get("/v1/me").is_success, "the token", seconds=60)
            for verb, path in (
                ("GET", ""), ("GET", "/all"), ("PUT", "/all"), ("DELETE", "/all"),
                ("GET", "/all/runs"), ("GET", "/all/runs/1/page"),
            ):  # fmt: skip
                body = {"json": report()} if verb == "PUT" else {}
                refused = part.request(verb, f"/v1/reports{path}", **body)
                assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
            for verb, path, body in (
                ("POST", "", {"kind": "generate-report", "parameters": {"report": "all"}}),
                ("POST", "/generate-report.one/answer", {"option": "Approve"}),
                ("DELETE", "/generate-report.one", None),
            ):
                refused = part.request(verb, f"/v1/jobs{path}", json=body)
                assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"panels": [{"title": "x", "question": {}}]}, "panels/0"),
        ({"panels": [{"title": "x", "saved": "nosuch"}]}, "sees no saved object nosuch"),
        ({"recipients": [{"route": "nosuch"}]}, "no route is called nosuch"),
        ({"recipients": [{"route": "pager"}]}, "can't go to pagerduty"),
        ({"recipients": [{"route": "hook", "config": {"path": "@x.com/"}}]}, "must begin with /"),
        ({"recipients": [{"route": "numbers", "config": {"to": "x"}}]}, "may say channel, not to"),
        ({"schedule": {"every": "day", "zone": "Mars/Base"}}, "Mars/Base"),
    ],
)
def test_a_report_that_could_not_be_made_is_refused(
    query_clients: Clients, changes: dict[str, Any], said: str
) -> None:
    refused = query_clients["analyst"].put("/v1/reports/wrong", json=report(**changes))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert said in refused.json()["detail"]


def test_a_saved_question_is_asked_as_it_is_when_the_report_is_made(
    query_clients: Clients, settings: Settings
) -> None:
    with postgres.connect(settings) as connection:
        row = connection.execute(
            "INSERT INTO saved_objects (kind, name, owner, content, updated_by) VALUES ('view', "
            "'Two', 'token:tests-analyst', %s, 'ana') RETURNING object_id::text AS id",
            [
                '{"panels": [{"title": "One", "question": {"name": "nosuch_a"}}, '
                '{"title": "Two", "question": {"name": "nosuch_b", "limit": 5}}]}'
            ],
        ).fetchall()[0]
        panels = [{"title": "Both", "saved": row["id"]}]
        mine = report(panels=panels, recipients=[])
        assert query_clients["operator"].put("/v1/reports/theirs", json=mine).status_code == 422
        query_clients["analyst"].put("/v1/reports/saved", json=mine).raise_for_status()
        made = service.make(settings, "saved", "run 1", "ana", {})
        assert made["unanswered"] == ["One", "Two"]
        connection.execute("DELETE FROM saved_objects WHERE object_id::text = %s", [row["id"]])
    assert service.make(settings, "saved", "run 2", "ana", {})["unanswered"] == ["Both"]


def test_of_two_who_make_a_report_at_once_one_is_told(
    query_clients: Clients, settings: Settings
) -> None:
    analyst = query_clients["analyst"]
    made, told = sent_at_once(
        settings, "reports", lambda: analyst.put("/v1/reports/both", json=report())
    )
    assert made.status_code == 200, made.text
    assert (told.status_code, told.json()["code"]) == (428, "precondition_required")
