"""A small world for alerts: samples go in, minutes pass, messages come out, on the real stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client
from pagerduty import EventsApiV2Client, HttpError
from slack_sdk import WebClient

from millrace.alerts import check, outbox, pipeline, repository
from millrace.alerts.channels import pagerduty, slack, webhook
from millrace.alerts.model import Route, Rule
from millrace.alerts.outbox import Message, Sender
from millrace.lab.channels import Channels
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

MINUTE = timedelta(minutes=1)
START = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
ROUTES = [
    Route("chat", "slack", "slack_alerts", {"channel": "#alerts"}),
    Route("pager", "pagerduty", "pagerduty_alerts"),
]
LOAD = "millrace_test_load"


def rule(**changes: Any) -> Rule:
    values: dict[str, Any] = {
        "name": "load_high", "expression": f"sum by (host) ({LOAD}) > 10", "severity": "critical",
        "owner": "me", "runbook": "https://runbooks.example.com/load", "routes": ["chat", "pager"],
        "for_seconds": 60, "annotations": {"summary": "Load of {{ labels.host }} is {{ value }}"},
    }  # fmt: skip
    return Rule(**{**values, **changes})


class LocalPagerDuty(EventsApiV2Client):
    """The library's client without its own retries, and allowed to speak to loopback."""

    timeout = 2
    max_network_attempts = 0
    address = ""

    def normalize_url(self, url: str) -> str:
        """Join base and path; the library's own insists on TLS."""
        return f"{self.address}{url}"

    def postprocess(self, response: Any) -> None:
        """Hand a rate limit on instead of sleeping."""
        if response.status_code == 429:
            raise HttpError("rate limit reached (429)", response)


class World:
    """Samples go in, minutes pass, messages come out."""

    def __init__(self, settings: Settings, channels: Channels) -> None:
        self.settings, self.channels = settings, channels
        self.connection = postgres.connect(settings)
        self.warehouse: Client = clickhouse.connect(settings)
        for table in (
            "alert_rules", "alert_routes", "alert_inhibitions", "alert_silences", "alert_clock",
            "alert_instances", "alert_transitions", "alert_groups", "alert_notifications",
        ):  # fmt: skip
            self.connection.execute(f"TRUNCATE {table}")
        self.warehouse.command("TRUNCATE TABLE pipeline_metrics")
        self.warehouse.command("TRUNCATE TABLE alert_evaluations")
        for route in ROUTES:
            repository.save_route(self.connection, route)

    def sample(self, minute: int, value: float, host: str = "a", name: str = LOAD) -> None:
        """Write one sample."""
        pipeline.write(self.settings, START + minute * MINUTE, [(name, value, {"host": host})])

    def judge(self, minute: int) -> check.Summary:
        """Judge what is due a little after a minute."""
        now = START + minute * MINUTE + timedelta(seconds=self.settings.alert_delay_seconds)
        return check.run(self.settings, now=now, run_url="http://airflow.example.com/run")

    def deliver(self, budget_seconds: float = 20) -> outbox.Delivery:
        """Send what waits."""
        return outbox.deliver(self.settings, self.senders(), budget_seconds)

    def retry_now(self) -> None:
        """Let every pause and lease be over."""
        self.connection.execute(
            "UPDATE alert_notifications SET not_before = 'epoch', leased_until = 'epoch'"
        )

    def told(self) -> list[tuple[str, str]]:
        """Return the notifications made so far."""
        rows = self.connection.execute(
            "SELECT route, event FROM alert_notifications ORDER BY notification_id"
        )
        return [(row["route"], row["event"]) for row in rows]

    def senders(self) -> dict[str, Sender]:
        """Return senders that speak to the local servers."""

        def to_slack(message: Message) -> dict[str, Any]:
            base = f"{self.channels.address}/slack/"
            return slack.send(
                WebClient("xoxb-test", base_url=base, timeout=2, retry_handlers=[]), message
            )

        def to_pagerduty(message: Message) -> dict[str, Any]:
            client = LocalPagerDuty("k" * 32)
            client.retry, client.address = {}, self.channels.address
            return pagerduty.send(client, message)

        def to_webhook(message: Message) -> dict[str, Any]:
            return webhook.send(f"{self.channels.address}/hook", {}, message)

        return {"slack": to_slack, "pagerduty": to_pagerduty, "webhook": to_webhook}
