"""An alert of the campaign's own: when it fires, whom it tells, and whether its end was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace.alerts import check, outbox, pipeline, repository
from millrace.alerts.model import Route, Rule
from millrace.alerts.outbox import Message
from millrace.settings import Settings
from millrace.stores import postgres

MINUTE = timedelta(minutes=1)
METRIC = "millrace_campaign_load"
LIMIT = 10.0
ROUTE = "campaign"
RULE = Rule(
    name="campaign_load_high",
    expression=f"sum({METRIC}) > {LIMIT:g}",
    severity="warning",
    owner="campaign",
    runbook="https://example.com/runbook",
    routes=[ROUTE],
)


@dataclass
class Incidents:
    """Minutes that pass, each with a sample, and what the channel was told of them.

    They lie some hours back, so that no operation has to wait for one to pass.
    """

    minute: datetime = field(
        default_factory=lambda: (
            datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
        )
    )
    told: list[Message] = field(default_factory=list)

    def watch(self, settings: Settings, *, is_route_active: bool) -> None:
        """Set up rule and route, or switch the route."""
        with postgres.connect(settings) as connection:
            repository.save_rule(connection, RULE)
            route = Route(ROUTE, "webhook", "campaign", is_active=is_route_active)
            repository.save_route(connection, route)

    def judge(self, settings: Settings, *, is_high: bool) -> None:
        """Let a minute pass, in which the metric is high or not; judge it, and tell of it."""
        self.minute += MINUTE
        value = LIMIT + 1 if is_high else 0.0
        pipeline.write(settings, self.minute, [(METRIC, value, {})])
        now = self.minute + timedelta(seconds=settings.alert_delay_seconds)
        check.run(settings, now=now)
        outbox.deliver(settings, {"webhook": self._hear})

    def open(self) -> set[str]:
        """Return the incidents that the channel was told of, and not of their ends."""
        last = {message.dedup_key: message.event for message in self.told}
        return {key for key, event in last.items() if event != "resolve"}

    def _hear(self, message: Message) -> dict[str, Any]:
        self.told.append(message)
        return {}
