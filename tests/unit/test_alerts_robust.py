"""What alerts are made of may be odd, lost or too large; the others are told all the same."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from confluent_kafka import KafkaException

from millrace.alerts import (
    chart,
    content,
    evaluation,
    matchers,
    outbox,
    pipeline,
    rules,
    silences,
    templates,
)
from millrace.alerts.channels import pagerduty, slack, webhook
from millrace.alerts.evaluation import Evaluator, Row
from millrace.alerts.grouping import Group, Notification
from millrace.alerts.model import Instance, Result, Route, Rule
from millrace.alerts.outbox import DeliveryError, Message
from millrace.alerts.silences import Mute
from millrace.contract.errors import RuleError
from millrace.settings import Settings
from millrace.stores import clickhouse, kafka, postgres

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOCUMENT = {
    "name": "a", "expression": "x > 1", "severity": "info", "owner": "me",
    "runbook": "https://example.com", "routes": ["slack"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("expression", None),
        ("owner", 5),
        ("runbook", ["x"]),
        ("routes", "slack"),
        ("routes", None),
        ("routes", [1]),
        ("labels", ["team"]),
        ("labels", {"team": 5}),
        ("labels", {5: "team"}),
        ("annotations", None),
        ("annotations", {"summary": 5}),
        ("enabled", "no"),
        ("no_data", True),
    ],
)
def test_a_field_of_another_kind_is_named(field: str, value: object) -> None:
    with pytest.raises(RuleError, match=f"{field}: "):
        rules.from_document({**DOCUMENT, field: value}, {})


class Asked(Evaluator):
    """An evaluator that notes what it is asked and gives the same rows each time."""

    def __init__(self, rows: list[Row]) -> None:
        self.given, self.asked = rows, 0

    def rows(self, query: str, first: datetime, last: datetime) -> list[Row]:
        """Answer."""
        self.asked += 1
        return self.given


def instance(host: str, value: float = 5) -> Instance:
    labels = {"alertname": "load", "severity": "critical", "host": host}
    return Instance("load", "condition", labels, "firing", AT, AT, value)


def notification(*alerts: Instance) -> Notification:
    group = Group("chat", {"alertname": "load"}, AT, opened_at=AT)
    return Notification("chat", group, "trigger", AT, alerts)


def test_a_threshold_is_asked_for_once_whatever_the_number_of_alerts() -> None:
    rule = Rule("load", "load > limit", "critical", "me", "https://example.com", ["chat"])
    rows: list[Row] = [
        (0, -1, {"__name__": "limit"}, 1.0),
        (0, -1, {"__name__": "limit", "host": "b"}, 2.0),
        (0, -1, {"__name__": "limit", "host": "b", "rack": "7"}, 3.0),
    ]
    evaluator = Asked(rows)
    write = content.Writer(Settings(), {"load": rule}, evaluator)
    for _ in range(3):
        said = write(notification(instance("a"), instance("b")))
    assert [alert["threshold"] for alert in said["firing"]] == [1.0, 2.0]
    assert evaluator.asked == 1


def test_the_run_that_is_linked_is_of_the_dag_that_failed() -> None:
    settings = Settings(airflow_url="https://airflow.example.com/a")
    write = content.Writer(settings, {}, None, "https://airflow.example.com/own-run")
    failed = replace(instance("a"), labels={"alertname": "dag_failed", "dag_id": "export events"})
    other = replace(failed, labels=failed.labels | {"dag_id": "other"})
    told = write(notification(failed, failed))["links"]["run"]
    assert told == "https://airflow.example.com/a/dags/export%20events/runs?state=failed"
    for alerts in ([failed, other], [instance("a")], [failed, instance("a")]):
        assert write(notification(*alerts))["links"]["run"] == "https://airflow.example.com/own-run"


def test_what_is_told_of_an_incident_whose_messages_are_lost_is_whole() -> None:
    """As after a restore: each channel needs all of it to say that somebody is on it."""
    said = content.Writer(Settings(), {})(notification(instance("a")))
    route = Route("chat", "slack", "slack_alerts", {"channel": "#a"})
    message = Message(1, route, "acknowledge", "k", {**said, "event": "acknowledge"})
    assert "load" in webhook.payload(message)["headline"]
    assert pagerduty.event(message)["payload"]["component"] == "load"
    assert slack.blocks("acknowledge", message.content)


def test_two_dollars_in_a_label_are_no_formula() -> None:
    points = [(AT + n * timedelta(minutes=1), float(n)) for n in range(5)]
    picture = chart.Picture("$5 \\frac{ $", "a $b_{ $", "", {"$x^{ $": points})
    assert chart.draw(picture).startswith(b"\x89PNG")


def test_a_picture_asks_for_the_alerts_own_series_and_else_for_some() -> None:
    asked: list[str] = []

    class Empty(Asked):
        def rows(self, query: str, first: datetime, last: datetime) -> list[Row]:
            asked.append(query)
            return []

    rule = Rule("load", "sum by (host) (load) > 1", "info", "me", "https://example.com", ["chat"])
    alert = {"labels": {"host": "it's"}, "annotations": {}, "active_since": AT.isoformat()}
    assert chart.of_rule(Empty([]), rule, alert, AT) is None
    assert "'it\\'s'" in asked[0]
    assert all("LIMIT 20000" in query and "max_execution_time" in query for query in asked)


def test_a_rule_that_is_too_slow_is_not_tried_at_every_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, asked = [0.0], []

    def query(statement: str, **_parameters: Any) -> None:
        asked.append(statement)
        clock[0] += evaluation.TIMEOUT_SECONDS
        raise DatabaseError("too slow")

    server = SimpleNamespace(command=lambda _statement: None, query=query, close=lambda: None)
    monkeypatch.setattr(evaluation, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(clickhouse, "connect", lambda *_: server)
    rule = Rule("load", "load > 1", "info", "me", "https://example.com", ["chat"])
    with Evaluator(Settings(), threads=1) as evaluator:
        found = evaluator.evaluate([rule], AT, AT + timedelta(minutes=9))
    assert {results["load"].status for results in found.values()} == {"error"}
    assert len(found) == 10
    assert len(asked) == 2  # all minutes at once, then the first of them


def judged(monkeypatch: pytest.MonkeyPatch, query: Any, *names: str) -> dict[str, Result]:
    """Return what rules of these names are found to be where the server answers so."""
    server = SimpleNamespace(command=lambda _statement: None, query=query, close=lambda: None)
    monkeypatch.setattr(clickhouse, "connect", lambda *_: server)
    made = [Rule(name, f"{name} > 1", "info", "me", "https://example.com", []) for name in names]
    with Evaluator(Settings(), threads=1) as evaluator:
        return evaluator.evaluate(made, AT, AT)[AT]


def test_whatever_a_rules_statement_raises_is_that_rules_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def query(statement: str, **_parameters: Any) -> Any:
        if "'odd'" in statement:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        at = evaluation.milliseconds(AT)
        return SimpleNamespace(result_rows=[(at, -1, {"host": "a"}, 5.0), (at, 0, {}, 1.0)])

    found = judged(monkeypatch, query, "odd", "good")
    assert (found["odd"].status, found["good"].status) == ("error", "ok")
    assert "invalid start byte" in found["odd"].detail


def test_a_value_that_is_none_is_an_error_of_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def query(_statement: str, **_parameters: Any) -> Any:
        return SimpleNamespace(result_rows=[(evaluation.milliseconds(AT), -1, {}, None)])

    assert judged(monkeypatch, query, "odd")["odd"].status == "error"


@pytest.mark.parametrize(
    "text", ['{{ "{x}".format() }}', '{{ "{}".format() }}', "{{ labels.host.encode('x') }}"]
)
def test_a_text_that_fails_in_whatever_way_says_so_in_its_place(text: str) -> None:
    later = f"{{% if value > 100 %}}{text}{{% endif %}}"
    templates.check(later)
    said = templates.render(later, rule="r", labels={"host": "a"}, value=200, threshold=None)
    assert said.startswith("r (its text could not be made: ")
    with pytest.raises(ValueError, match="template"):
        templates.check(text.replace("labels.host", "rule"))


def test_what_lasts_for_no_time_or_beyond_all_time_is_refused() -> None:
    connection: Any = SimpleNamespace()
    for mute, said in (
        (Mute(['a="b"'], AT, timedelta(), "me"), "last for a while"),
        (Mute(['a="b"'], AT.replace(year=9999), timedelta(days=365), "me"), "9999"),
    ):
        with pytest.raises(ValueError, match=said):
            silences.add(connection, mute)
    with pytest.raises(ValueError, match="silence's number"):
        silences.plan_window(connection, "7", Mute(['a="b"'], AT, timedelta(1), "me"), "day")
    with pytest.raises(RuleError, match="such as 4h"):
        rules.check_route(Route("r", "webhook", "c", repeat_interval_seconds=0))


def test_a_label_that_is_no_text_fits_matchers_all_the_same() -> None:
    labels: Any = {"team": 5}
    rule = Rule("load", "load > 1", "info", "me", "https://example.com", [], labels=labels)
    assert matchers.match(['team=~"4|5"'], rule.alert_labels({}, "condition"))


def test_settings_that_kafka_refuses_are_a_sample_and_no_end_of_judging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_settings: Settings) -> None:
        raise KafkaException("ssl.ca.location: no such file")

    written: list[Any] = []
    nothing = SimpleNamespace(fetchall=list)
    connection = SimpleNamespace(execute=lambda _query: nothing)
    monkeypatch.setattr(kafka, "admin", refuse)
    monkeypatch.setattr(pipeline, "write", lambda _settings, _at, samples: written.extend(samples))
    monkeypatch.setattr(postgres, "connect", lambda _settings: nullcontext(connection))
    assert pipeline.collect(Settings(), AT) == 1
    assert written == [("millrace_kafka_up", 0.0, {})]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"Retry-After": "Sun, 01 Mar 2026 12:00:00 GMT"}, None),
        ({"Retry-After": "²"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_how_long_a_channel_wishes_to_be_left_alone(
    headers: dict[str, str] | None, seconds: float | None
) -> None:
    assert outbox.wish_of(headers) == seconds


@pytest.mark.parametrize("answer", [None, {"status": 503, "body": "<html>"}, b"<html>"])
def test_an_answer_that_is_not_slacks_is_told_as_it_is(answer: object) -> None:
    class Failing:
        def chat_postMessage(self, **_message: Any) -> None:  # noqa: N802
            error = RuntimeError("Received a response in a non-JSON format")
            error.response = answer  # type: ignore[attr-defined]
            raise error

    said = content.Writer(Settings(), {})(notification(instance("a")))
    route = Route("chat", "slack", "slack_alerts", {"channel": "#a"})
    with pytest.raises(DeliveryError, match="Slack: Received a response in a non-JSON"):
        slack.send(Failing(), Message(1, route, "repeat", "k", said))
