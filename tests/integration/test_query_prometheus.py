"""Prometheus' HTTP API answers what Prometheus answers, and serves Prometheus' own clients."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

import httpx
import pytest
import yaml
from clickhouse_connect.driver.client import Client
from prometheus_client.parser import text_string_to_metric_families
from tests.helpers.wait import until
from tests.integration.promql.published import Metric, published
from tests.integration.promql.questions import (
    BEGIN,
    EXPRESSIONS,
    INSTANT,
    PARAMETERS,
    RANGE,
    REFUSED,
    asked,
    shifted,
)  # fmt: skip
from tests.integration.promql.reference import Prometheus, PrometheusError, serving
from tests.integration.promql.samples import openmetrics
from tests.integration.test_alerts_promql import differences

from millrace.access import tokens
from millrace.alerts import repository
from millrace.alerts.model import Instance, Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

Clients = Mapping[str, httpx.Client]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with serving(openmetrics(shifted()), tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.fixture(scope="module")
def viewer(query_clients: Clients, settings: Settings) -> Iterator[Prometheus]:
    """Millrace, asked as Prometheus is."""
    metrics = [
        Metric("visits", meaning="Visits of a shop", unit="visits"),
        Metric("refusals", dimensions=("source_id",), model="rejected_events"),
    ]
    with published(metrics, settings), clickhouse.connect(settings) as client:
        rows = [[row.at // 1000, row.name, row.value, dict(row.labels)] for row in shifted()]
        rows += [
            [BEGIN + 60 * minute, f"published_{name}", value, labels]
            for minute in range(120)
            for name, value, labels in (
                ("visits", 2.0, {"country": "DE", "device": ""}),
                ("visits", 3.0, {"country": "US", "device": "mobile"}),
                ("refusals", 1.0, {"source_id": "web"}),
                ("refusals", 5.0, {"source_id": "app"}),
            )
        ]
        rows += [
            [BEGIN + 60 * 59, "millrace_withheld", 1.0, {"dataset": name}]
            for name in ("events", "rejected_events")
        ]
        names = ["timestamp", "metric_name", "value", "dimensions"]
        client.insert("pipeline_metrics", rows, column_names=names)
        yield Prometheus(query_clients["viewer"])


@pytest.mark.parametrize("query", EXPRESSIONS)
def test_same_as_prometheus(prometheus: Prometheus, viewer: Prometheus, query: str) -> None:
    at = {"query": query, "time": INSTANT[0] / 1000}
    (_, theirs), (status, ours) = asked(prometheus, "query", **at), asked(viewer, "query", **at)
    assert status == 200, ours
    assert ours["data"]["resultType"] == theirs["data"]["resultType"]
    if query.startswith("sort"):  # sums of floats may differ in the last digit
        orders = [[one["metric"] for one in answer["data"]["result"]] for answer in (ours, theirs)]
        assert orders[0] == orders[1]
    if query.startswith('"') or query.endswith("]"):
        assert ours["data"] == theirs["data"]
        return
    assert not differences(viewer.evaluate(query, *INSTANT), prometheus.evaluate(query, *INSTANT))
    assert not differences(viewer.evaluate(query, *RANGE), prometheus.evaluate(query, *RANGE))


@pytest.mark.parametrize(("path", "parameters", "status"), REFUSED)
def test_refused_as_prometheus_refuses(
    prometheus: Prometheus, viewer: Prometheus, path: str, parameters: dict[str, str], status: int
) -> None:
    if path.startswith("query") and "time" not in parameters and status == 422:
        parameters = parameters | {"time": str(INSTANT[0] / 1000)}
    theirs = prometheus.client.get(f"/api/v1/{path}", params=parameters)
    ours = viewer.client.get(f"/api/v1/{path}", params=parameters)
    assert (ours.status_code, theirs.status_code) == (status, status), ours.text
    for answer in (ours, theirs):
        assert answer.json()["status"] == "error"
    assert ours.json()["errorType"] == theirs.json()["errorType"]
    assert ours.json()["error"]


def test_every_parameter_is_asked_and_heard(viewer: Prometheus) -> None:
    paths = viewer.client.get("/openapi.json").json()["paths"]
    operations = {path: one["get"] for path, one in paths.items() if path.startswith("/api/v1/")}
    seen = set()
    for path, operation in operations.items():
        names = {one["name"] for one in operation.get("parameters", [])}
        right: dict[str, Any] = {name: PARAMETERS[name][0] for name in names}
        for wrong in (None, *sorted(names)):
            given = right | ({wrong: PARAMETERS[wrong][1]} if wrong else {})
            address = path.replace("{name}", str(given.pop("name", "")))
            answer = viewer.client.get(address, params=given)
            assert answer.status_code == (400 if wrong else 200), (path, wrong, answer.text)
        seen |= names
    assert seen == set(PARAMETERS)


def test_what_there_is(prometheus: Prometheus, viewer: Prometheus) -> None:
    times = {"start": BEGIN, "end": BEGIN + 7200}
    for path, matches in (
        ("labels", ["millrace_page_views", "millrace_info"]),
        ("label/country/values", ["millrace_page_views"]),
        ("label/__name__/values", ['{__name__=~"millrace_p.*"}']),
        ("series", ['millrace_page_views{country="US"}', "millrace_once"]),
    ):
        parameters = times | {"match[]": matches}
        ours = viewer.client.get(f"/api/v1/{path}", params=parameters).json()
        theirs = prometheus.client.get(f"/api/v1/{path}", params=parameters).json()
        key = (lambda labels: sorted(labels.items())) if path == "series" else str
        assert sorted(ours["data"], key=key) == sorted(theirs["data"], key=key), path
    names = viewer.client.get("/api/v1/label/__name__/values").json()["data"]
    assert {"visits", "visits_total", "refusals", "millrace_page_views"} <= set(names)
    assert names == sorted(names)
    assert {"__name__", "country", "device", "le", "source_id"} <= set(
        viewer.client.get("/api/v1/labels").json()["data"]
    )
    meaning = viewer.client.get("/api/v1/metadata", params={"metric": "visits"}).json()
    assert meaning["data"] == {
        "visits": [{"type": "gauge", "help": "Visits of a shop", "unit": "visits"}]
    }
    assert viewer.client.get("/api/v1/status/buildinfo").json()["data"]["application"]


def test_published_metrics_and_their_counters(viewer: Prometheus) -> None:
    at = (BEGIN + 60 * 60 + 1) * 1000
    times = (at, at, 1)
    assert viewer.evaluate("sum(visits)", *times) == {(at, ()): 5.0}
    assert viewer.evaluate("sum by (country) (sum_over_time(visits[10m]))", *times) == {
        (at, (("country", "DE"),)): 20.0,
        (at, (("country", "US"),)): 30.0,
    }
    grown = viewer.evaluate('increase(visits_total{country="US"}[10m])', *times)
    assert math.isclose(next(iter(grown.values())), 30.0)


def test_who_may_see_one_source_sees_nothing_of_others(
    viewer: Prometheus, query_clients: Clients, settings: Settings
) -> None:
    with postgres.connect(settings) as connection:
        text = tokens.add(connection, tokens.NewToken("tests-web", "viewer", sources=["web"]))
    basic = httpx.BasicAuth("anybody", text)
    base_url = str(viewer.client.base_url)
    at = (BEGIN + 60 * 60 + 1) * 1000
    with httpx.Client(base_url=base_url, auth=basic, timeout=30) as client:
        until(lambda: client.get("/api/v1/status/buildinfo").is_success, 10)
        web = Prometheus(client)
        labels = (("__name__", "refusals"), ("source_id", "web"))
        assert web.evaluate("refusals", at, at, 1) == {(at, labels): 1.0}
        assert not web.evaluate("visits or millrace_page_views or visits_total", at, at, 1)
        times = {"start": BEGIN, "end": BEGIN + 7200}
        listed = client.get("/api/v1/label/__name__/values").json()["data"]
        # That of the test's own table of published metrics is Millrace's own, too.
        assert listed == ["published_refusals", "refusals", "refusals_total"]
        match = {"match[]": '{__name__=~"refusals|visits|millrace.*"}'}
        found = client.get("/api/v1/series", params=times | match).json()["data"]
        assert found == [dict(labels)]
        with pytest.raises(PrometheusError):
            web.evaluate("refusals *", at, at, 1)
    stranger = query_clients["none"].get("/api/v1/query", params={"query": "1"})
    assert stranger.status_code == 401
    assert stranger.json()["errorType"] == "unauthorized"
    assert stranger.headers["www-authenticate"]


def test_who_may_see_one_dataset_sees_no_metric_of_others(
    viewer: Prometheus, settings: Settings
) -> None:
    with postgres.connect(settings) as connection:
        new = tokens.NewToken("tests-refusals", "viewer", datasets=["rejected_events"])
        basic = httpx.BasicAuth("anybody", tokens.add(connection, new))
    at = (BEGIN + 60 * 60 + 1) * 1000
    with httpx.Client(base_url=viewer.client.base_url, auth=basic, timeout=30) as client:
        theirs = Prometheus(client)
        until(lambda: client.get("/api/v1/status/buildinfo").is_success, 10)
        # Which metrics there are is read every ten seconds.
        assert until(lambda: theirs.evaluate("sum(refusals)", at, at, 1), 30) == {(at, ()): 6.0}
        for hidden in ("visits", "visits_total", "millrace_page_views", '{country="US"}'):
            assert viewer.evaluate(hidden, at, at, 1)
            assert not theirs.evaluate(hidden, at, at, 1), hidden
        own = (("__name__", "millrace_withheld"), ("dataset", "rejected_events"))
        assert theirs.evaluate("millrace_withheld", at, at, 1) == {(at, own): 1.0}
        assert theirs.evaluate("absent(visits)", at, at, 1) == {(at, ()): 1.0}
        times = {"start": BEGIN, "end": BEGIN + 7200, "match[]": '{__name__=~".+"}'}
        names = client.get("/api/v1/label/__name__/values", params=times).json()["data"]
        assert names == ["millrace_withheld", "refusals"]
        assert client.get("/api/v1/labels", params=times).json()["data"] == [
            "__name__", "dataset", "source_id"
        ]  # fmt: skip
        assert client.get("/api/v1/label/country/values", params=times).json()["data"] == []
        listed = client.get("/api/v1/metadata").json()["data"]
        assert {"refusals", "refusals_total"} <= set(listed)
        assert not {"visits", "visits_total"} & set(listed)


def test_alert_rules_and_alerts(viewer: Prometheus, settings: Settings) -> None:
    """As Grafana lists them; Prometheus lists rules in the same form."""
    since = datetime.now(UTC).replace(microsecond=0)
    rule = Rule(
        name="tests_prometheus", expression="visits > 3", severity="error", owner="tests",
        runbook="docs/alerts.md", routes=[], for_seconds=120, labels={"team": "web"},
        annotations={"summary": "{{ value | count('visit') }}", "limit": "{{ threshold }}"},
    )  # fmt: skip
    with postgres.connect(settings) as connection:
        repository.save_rule(connection, rule)
        repository.save_rule(connection, replace(rule, name="tests_off", is_active=False))
        alert = Instance(
            rule.name, "condition", rule.alert_labels({"country": "US"}, "condition"),
            "firing", since, since, 5.0,
        )  # fmt: skip
        repository.save_states(connection, {}, {alert.key: alert}, [])
    wanted = {
        "labels": alert.labels,
        "annotations": {"summary": "5 visits"},
        "state": "firing",
        "activeAt": f"{since:%FT%TZ}",
        "value": "5.0",
    }
    try:
        names = {"rule_name[]": ["tests_prometheus", "tests_off"]}
        listed = viewer.client.get("/api/v1/rules", params=names).json()
        (group,) = listed["data"]["groups"]
        (found,) = group["rules"]
        assert listed["status"] == "success"
        assert (found["name"], found["query"], found["duration"]) == (rule.name, "visits > 3", 120)
        assert (found["type"], found["state"]) == ("alerting", "firing")
        assert found["labels"] == {"team": "web", "severity": "error", "owner": "tests"}
        assert found["annotations"] == rule.annotations
        assert found["alerts"] == [wanted]
        assert wanted in viewer.client.get("/api/v1/alerts").json()["data"]["alerts"]
        recording = viewer.client.get("/api/v1/rules", params={"type": "record"}).json()
        assert recording["data"] == {"groups": []}
    finally:
        with postgres.connect(settings) as connection:
            repository.save_states(connection, {alert.key: alert}, {}, [])
            connection.execute("DELETE FROM alert_rules WHERE owner = 'tests'")


def test_grafana_is_given_a_data_source_that_works(viewer: Prometheus, repository: Path) -> None:
    """As Grafana fills the file in, and asks by it."""
    variables = {
        "MILLRACE_QUERY_URL": str(viewer.client.base_url),
        "MILLRACE_QUERY_TOKEN": viewer.client.headers["authorization"].removeprefix("Bearer "),
    }
    path = repository / "deploy" / "grafana" / "datasources" / "millrace.yaml"
    (source,) = yaml.safe_load(Template(path.read_text()).substitute(variables))["datasources"]
    about = source["jsonData"]
    headers = {about["httpHeaderName1"]: source["secureJsonData"]["httpHeaderValue1"]}
    with httpx.Client(base_url=source["url"], headers=headers) as grafana:
        asked = {"query": "sum(visits)", "time": BEGIN + 3601}
        answer = grafana.request(about["httpMethod"], "/api/v1/query", data=asked).json()
        build = grafana.get("/api/v1/status/buildinfo").json()["data"]
    assert [one["value"][1] for one in answer["data"]["result"]] == ["5"]
    assert build["version"] == about["prometheusVersion"]


def test_numbers_that_may_still_change_are_told(viewer: Prometheus) -> None:
    """Prometheus has a place for it; nothing is said of what is past, or depends on no number."""
    url, later = "/api/v1/query", time.time() + 3600
    for query, at, said in (("visits", later, True), ("1 + 1", later, False), ("visits", 0, False)):
        answer = viewer.client.get(url, params={"query": query, "time": at}).json()
        assert any("provisional" in info for info in answer.get("infos", [])) == said


def test_an_answer_is_bounded(viewer: Prometheus) -> None:
    url = "/api/v1/query"
    at = {"time": INSTANT[0] / 1000}
    few = viewer.client.get(url, params=at | {"query": "millrace_page_views", "limit": 2}).json()
    assert len(few["data"]["result"]) == 2
    assert few["warnings"] == ["results truncated due to limit"]
    for query in (" or ".join(["millrace_page_views"] * 40), "1+" * 3000 + "1"):
        refused = viewer.client.get(url, params={"query": query})
        assert (refused.status_code, refused.json()["errorType"]) == (400, "bad_data")


@pytest.fixture
def slow(viewer: Prometheus, settings: Settings) -> Iterator[Client]:
    """Metrics whose reading takes longer than anybody may; a client of the server itself."""
    with clickhouse.connect(settings) as client:
        client.command("RENAME TABLE analytics.metrics TO analytics.metrics_of_tests")
        client.command(
            "CREATE VIEW analytics.metrics AS SELECT now('UTC') - 120 AS timestamp, "
            "sleepEachRow(1)::Float64 AS value, map('country', 'US') AS dimensions, "
            "'visits' AS metric_name FROM numbers(1000) SETTINGS max_block_size = 1"
        )
        try:
            yield client
        finally:
            client.command("DROP VIEW analytics.metrics")
            client.command("RENAME TABLE analytics.metrics_of_tests TO analytics.metrics")


def test_a_client_that_goes_away_takes_its_statement_along(
    query_clients: Clients, slow: Client
) -> None:
    """Nothing else ends it so soon: it may take 60 s, and the test waits for half of them."""
    admin = query_clients["admin"]
    running = "SELECT count() FROM system.processes WHERE user = 'query' AND query LIKE '%visits%'"

    def count() -> int:
        return int(slow.query(running).result_rows[0][0])

    host, port = admin.base_url.host, admin.base_url.port or 80
    for method, path, form in (
        ("GET", "/api/v1/query?query=sum(visits)", ""),
        ("POST", "/api/v1/query", "query=sum(visits)"),
    ):
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: {admin.headers['authorization']}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(form)}\r\n\r\n{form}"
        )
        with socket.create_connection((host, port), timeout=30) as connection:
            connection.sendall(head.encode())
            until(lambda: count() == 1, 30)
        until(lambda: count() == 0, 30)


def test_stock_client_of_prometheus(viewer: Prometheus) -> None:
    """Prometheus' promtool asks by its own Go client."""
    token = viewer.client.headers["authorization"].removeprefix("Bearer ")
    server = str(viewer.client.base_url).replace("//", f"//any:{token}@")

    def promtool(kind: str, *arguments: str) -> Any:
        command = ["promtool", "query", kind, "--format=json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    at = str(INSTANT[0] // 1000)
    (row,) = promtool("instant", f"--time={at}", server, "sum(millrace_target)")
    assert row["value"][1] == "1370"
    end = str(INSTANT[0] // 1000 + 600)
    times = f"--start={at}", f"--end={end}", "--step=1m"
    (series,) = promtool("range", *times, server, "sum(millrace_target)")
    assert [value for _, value in series["values"]] == ["1370"] * 11
    window = f"--start={at}", f"--end={end}"
    found = promtool("series", "--match=millrace_info", *window, server)
    assert {row["country"] for row in found} == {"US", "DE", "FR"}
    assert promtool("labels", *window, server, "country") is not None


def test_the_api_itself_is_scraped(query_clients: Clients) -> None:
    """By route, whatever people guess; a statement counts by how it ended."""
    viewer = query_clients["viewer"]

    def counted(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(viewer.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    requests = "millrace_query_request_seconds_count"
    route = {"route": "/api/v1/label/{name}/values", "method": "GET", "status": "200"}
    before = counted(requests, **route), counted(requests, route="none", status="404")
    answered = counted("millrace_query_statement_seconds_count", outcome="answered")
    viewer.get("/api/v1/label/country/values").raise_for_status()
    query_clients["none"].get("/guessed/6f1")
    assert counted(requests, **route) == before[0] + 1
    assert counted(requests, route="none", status="404") == before[1] + 1
    assert counted("millrace_query_statement_seconds_count", outcome="answered") > answered
    assert query_clients["none"].get("/metrics").status_code == 401
